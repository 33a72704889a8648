/**
 * Runs the worker processes behind one socket, and answers what is decided once for all of them: verifications (one
 * argon2 budget, one computation for each key), secrets, numbers of instances.
 *
 * The workers share one listening socket (cluster without round robin): a worker that hangs takes no connection, and one
 * that dies loses only its own. A worker that misses its heart-beat is killed and replaced: Kong then repeats the events
 * it had on another one.
 */
import cluster, { type Worker } from 'node:cluster';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { toHkaError } from '../lib/errors.ts';
import { createLogOnce, describeError, type Logger, type LogOnce } from '../lib/logger.ts';
import type { Verdict, Verifier } from '../keys/verdict.ts';
import { addCounts, createRequestCounts, type RequestCounts } from '../plugin/request-counts.ts';
import type { Config } from '../runtime/config.ts';
import { SOCKET_CHECK_MS } from '../server/socket-server.ts';
import { bindFault, type SocketFile } from '../server/socket-file.ts';
import type { StoreChange } from '../store/store.ts';
import { parseReference, type SecretReference } from '../vault/reference.ts';
import type { Secret } from '../lib/secret.ts';
import { InstanceRegistry } from './instance-registry.ts';
import { BEAT_MS, type Question, type ToSupervisor, type ToWorker } from './messages.ts';
import type { VerdictAnswer } from './remote-verifier.ts';

/** What the supervisor's own process provides. */
export interface Authority {
  /** Throws while it can't work. */
  verifier(): Verifier & { readonly changes: number };
  secret(reference: SecretReference): Secret | Promise<Secret>;
  onChange(listener: (change: StoreChange) => void): () => void;
}

/** A worker that is silent for so long is killed. Well below an event's deadline, so that Kong's repetition is in time. */
const HANG_MS = 2500;
/** A worker that ended sooner than this after its start is replaced after a pause. */
const SHORT_LIFE_MS = 1000;
const RESTART_PAUSE_MS = 1000;
/** A removed socket whose replacement has not come after this time is replaced once more. */
const REPLACE_PATIENCE_MS = 5000;
/** How long a start waits for workers to take an instance. One that is slower asks for it when it gets an event. */
const INSTANCE_WAIT_MS = 500;

interface Member {
  readonly worker: Worker;
  readonly startedAt: number;
  heardAt: number;
  /** Before that it would not hear anything. */
  begun: boolean;
  connections: number;
  events: number;
  delayed: number;
  requests: RequestCounts;
}

export class Supervisor {
  readonly #file: SocketFile;
  readonly #authority: Authority;
  readonly #logger: Logger;
  readonly #logOnce: LogOnce;
  readonly #members = new Map<number, Member>();
  readonly #instances = new InstanceRegistry();
  readonly #stopListening: () => void;
  /** Of workers that have ended. */
  readonly #formerRequests = createRequestCounts();
  #config: Config;
  #path: string;
  #ending = false;
  #tickAt = performance.now();
  #replacedAt = -Infinity;
  #timers: NodeJS.Timeout[] = [];
  #onListening: { resolve: () => void; reject: (error: Error) => void } | undefined;

  constructor(config: Config, file: SocketFile, authority: Authority, logger: Logger) {
    this.#config = config;
    this.#file = file;
    this.#authority = authority;
    this.#logger = logger;
    this.#logOnce = createLogOnce(logger);
    this.#path = file.temporaryPath();
    this.#stopListening = authority.onChange((change) =>
      this.#tellAll({ kind: 'changed', ids: change.kind === 'all' ? null : change.ids }),
    );
  }

  get workers(): number {
    return this.#members.size;
  }

  get runningEvents(): number {
    return this.#sum('events');
  }

  get connections(): number {
    return this.#sum('connections');
  }

  get delayed(): number {
    return this.#sum('delayed');
  }

  /** How requests ended, as of the workers' last beats. */
  get requests(): RequestCounts {
    const sum = addCounts(createRequestCounts(), this.#formerRequests);
    for (const { requests } of this.#members.values()) addCounts(sum, requests);
    return sum;
  }

  /** Resolves when Kong can connect. Throws HKA_SOCKET. */
  async listen(): Promise<void> {
    await this.#file.claim();
    // The socket is bound in this process. Until it has its final rights, this is what protects it.
    process.umask(0o077);
    cluster.schedulingPolicy = cluster.SCHED_NONE;
    cluster.setupPrimary({
      exec: join(import.meta.dirname, '..', '..', '..', 'bin', 'worker.js'),
      args: [],
      serialization: 'json',
    });
    const listening = new Promise<void>((resolve, reject) => {
      this.#onListening = { resolve, reject };
    });
    for (let count = 0; count < this.#config.server.workers; count += 1) this.#fork();
    this.#timers = [
      setInterval(() => this.#tick(), BEAT_MS),
      setInterval(() => this.#replaceSocketIfMissing(), SOCKET_CHECK_MS),
    ];
    await listening;
    this.#logger.info({ socket: this.#file.path, workers: this.#config.server.workers }, 'listening');
  }

  /** A configuration that was read again, and everything that was remembered under the former one. */
  use(config: Config): void {
    this.#config = config;
    this.#tellAll({ kind: 'settings', config });
  }

  /** Lets events in flight finish, then ends the workers. */
  async close(): Promise<void> {
    this.#ending = true;
    this.#stopListening();
    this.#file.remove();
    this.#tellAll({ kind: 'drain' });
    const killed = setTimeout(() => {
      for (const { worker } of this.#members.values()) worker.process.kill('SIGKILL');
    }, this.#config.server.drainMs + 1000);
    while (this.#members.size > 0) {
      await new Promise<void>((resolve) => {
        cluster.once('exit', () => resolve());
      });
    }
    clearTimeout(killed);
    for (const timer of this.#timers) clearInterval(timer);
  }

  /** Over all workers, as of their last beats. */
  #sum(what: 'events' | 'connections' | 'delayed'): number {
    return [...this.#members.values()].reduce((sum, member) => sum + member[what], 0);
  }

  #fork(): void {
    const worker = cluster.fork();
    const now = performance.now();
    const member: Member = {
      worker,
      startedAt: now,
      heardAt: now,
      begun: false,
      connections: 0,
      events: 0,
      delayed: 0,
      requests: createRequestCounts(),
    };
    this.#members.set(worker.id, member);
    worker.on('message', (message: ToSupervisor) => this.#onMessage(member, message));
    // A message to a worker that has just died.
    worker.on('error', (error) =>
      this.#logger.debug({ worker: worker.process.pid, err: describeError(error) }, 'worker channel'),
    );
    worker.on('exit', (code, signal) => this.#onExit(member, code, signal));
  }

  #onExit(member: Member, code: number | null, signal: string | null): void {
    this.#members.delete(member.worker.id);
    addCounts(this.#formerRequests, member.requests);
    this.#instances.left(member.worker.id);
    if (this.#ending) return;
    this.#logger.error({ worker: member.worker.process.pid, code, signal }, 'a worker ended; it is replaced');
    const lived = performance.now() - member.startedAt;
    setTimeout(
      () => {
        if (!this.#ending) this.#fork();
      },
      lived < SHORT_LIFE_MS ? RESTART_PAUSE_MS : 0,
    );
  }

  #onMessage(member: Member, message: ToSupervisor): void {
    member.heardAt = performance.now();
    switch (message.kind) {
      case 'hello':
        if (this.#ending) {
          member.worker.process.kill('SIGKILL');
          return;
        }
        member.begun = true;
        this.#tell(member, {
          kind: 'begin',
          config: this.#config,
          path: this.#path,
          instances: this.#instances.list(),
        });
        return;
      case 'beat':
        member.connections = message.connections;
        member.events = message.events;
        member.delayed = message.delayed;
        member.requests = message.requests;
        return;
      case 'listening':
        if (!this.#ending) this.#publish(message.path);
        return;
      case 'not listening': {
        const error = bindFault(
          this.#file.path,
          Object.assign(new Error(message.message), { code: message.code }),
        );
        if (this.#onListening === undefined)
          this.#logger.error({ err: describeError(error) }, 'worker without a socket');
        else this.#onListening.reject(error);
        return;
      }
      case 'started':
        this.#instances.taken(message.instance, member.worker.id);
        return;
      case 'close':
        this.#instances.remove(message.instance);
        this.#tellAll({ kind: 'closed', instance: message.instance });
        return;
      case 'log':
        this.#logOnce(message.key, message.level, message.fields, message.message);
        return;
      case 'question':
        this.#answer(message.question).then(
          (value) => this.#tell(member, { kind: 'answer', id: message.id, ok: true, value }),
          (error: unknown) => {
            const { code, message: text, details } = toHkaError(error);
            if (code === 'HKA_INTERNAL')
              this.#logger.error({ err: describeError(error) }, 'a question failed');
            this.#tell(member, { kind: 'answer', id: message.id, ok: false, code, message: text, details });
          },
        );
    }
  }

  async #answer(question: Question): Promise<unknown> {
    switch (question.kind) {
      case 'verify': {
        const verifier = this.#authority.verifier();
        const verdict = await verifier.verify(question.key);
        return toAnswer(verdict, verifier.changes);
      }
      case 'recall': {
        const verifier = this.#authority.verifier();
        const verdict = verifier.recall(question.key);
        return verdict === undefined ? undefined : toAnswer(verdict, verifier.changes);
      }
      case 'secret': {
        const secret = await this.#authority.secret(parseReference(question.reference));
        return secret.reveal();
      }
      case 'start':
        return this.#startInstance(question.plugin, question.config);
    }
  }

  async #startInstance(plugin: string, config: unknown): Promise<number> {
    const started = this.#instances.add(plugin, config);
    const workers = [...this.#members.values()].filter(({ begun, worker }) => begun && worker.isConnected());
    const taken = this.#instances.takenByAll(
      started.instance,
      workers.map(({ worker }) => worker.id),
      INSTANCE_WAIT_MS,
    );
    for (const member of workers) this.#tell(member, { kind: 'instance', ...started });
    await taken;
    return started.instance;
  }

  /** The first worker that listens on a new socket has bound it; it is put in place once. */
  #publish(path: string): void {
    if (!existsSync(path)) return;
    try {
      this.#file.publish(path);
      this.#replacedAt = -Infinity;
      this.#onListening?.resolve();
    } catch (error) {
      this.#onListening?.reject(error as Error);
      this.#logger.error({ err: describeError(error) }, 'the socket cannot be put in place');
    }
    this.#onListening = undefined;
  }

  #replaceSocketIfMissing(): void {
    const now = performance.now();
    // One at a time: workers leave the former socket as soon as they listen on a new one.
    if (this.#ending || !this.#file.isMissing() || now - this.#replacedAt < REPLACE_PATIENCE_MS) return;
    this.#replacedAt = now;
    this.#logger.warn({ socket: this.#file.path }, 'the socket had been removed; it is made again');
    this.#path = this.#file.temporaryPath();
    this.#tellAll({ kind: 'listen', path: this.#path });
  }

  #tick(): void {
    const now = performance.now();
    // After a pause of this very process the workers' beats are still unread: nobody is judged by it.
    const paused = now - this.#tickAt > 2 * BEAT_MS;
    this.#tickAt = now;
    for (const member of this.#members.values()) {
      if (paused) member.heardAt = now;
      if (now - member.heardAt > HANG_MS) {
        this.#logger.error(
          { worker: member.worker.process.pid, silentMs: Math.round(now - member.heardAt) },
          'a worker is silent; it is killed and replaced',
        );
        member.worker.process.kill('SIGKILL');
      }
    }
    this.#tellAll({ kind: 'beat' });
  }

  #tellAll(message: ToWorker): void {
    for (const member of this.#members.values()) this.#tell(member, message);
  }

  #tell(member: Member, message: ToWorker): void {
    if (!member.begun || !member.worker.isConnected()) return;
    member.worker.process.send(message, (error) => {
      if (error !== null) this.#logger.debug({ err: describeError(error) }, 'a worker could not be told');
    });
  }
}

/** `changes` is the number of changes at the moment the answer is sent. */
function toAnswer(verdict: Verdict, changes: number): VerdictAnswer {
  const current = verdict.seen === changes;
  return verdict.ok
    ? { ok: true, credential: verdict.credential, current }
    : { ok: false, reason: verdict.reason, current };
}
