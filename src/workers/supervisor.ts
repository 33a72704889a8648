/**
 * Runs the worker processes behind one socket, and answers what is decided once for all of them: verifications (one
 * argon2 budget, one computation for each key), secrets, numbers of instances.
 *
 * The socket is bound here and listened on by the workers that are active (src/workers/active-count.ts); the others
 * stand by with everything they need. A worker that dies loses only its own connections; one that misses its heart-beat
 * is killed and replaced. Kong then repeats the events it had, and whoever stands by answers them.
 */
import { fork, type ChildProcess, type SendHandle } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { toHkaError } from '../lib/errors.ts';
import { createLogOnce, describeError, type Logger, type LogOnce } from '../lib/logger.ts';
import type { Verdict, Verifier } from '../keys/verdict.ts';
import {
  addCounts,
  createInjectionCounts,
  createRequestCounts,
  createShadowCounts,
  type InjectionCounts,
  type RequestCounts,
  type ShadowCounts,
} from '../plugin/request-counts.ts';
import type { Config } from '../runtime/config.ts';
import { SOCKET_CHECK_MS } from '../server/socket-server.ts';
import { bindFault, type SocketFile } from '../lib/socket-file.ts';
import type { UsageRecorder } from '../plugin/usage.ts';
import type { StoreChange } from '../store/store.ts';
import type { Verdict as RefusalVerdict } from '../vault/previous-value.ts';
import type { SecretName, SecretReference } from '../vault/reference.ts';
import type { SecretData } from '../vault/secret-data.ts';
import type { SocketHandle } from '../server/plugin-server.ts';
import { ActiveCount, activeLimit } from './active-count.ts';
import { InstanceRegistry } from './instance-registry.ts';
import {
  BEAT_MS,
  type Answer,
  type NumberedAnswer,
  type Question,
  type ToSupervisor,
  type ToWorker,
} from './messages.ts';
import type { VerdictAnswer } from './remote-verifier.ts';
import { bindSocket } from './socket-handle.ts';

/** What the supervisor's own process provides. */
export interface Authority {
  /** Throws while it can't work. */
  verifier(): Verifier & { readonly changes: number };
  secret(reference: SecretReference, fields: readonly string[]): SecretData | Promise<SecretData>;
  refused(reference: SecretName, generation: number): Promise<RefusalVerdict>;
  onChange(listener: (change: StoreChange) => void): () => void;
  readonly usage: UsageRecorder;
}

/** A worker that is silent for so long is killed. Well below an event's deadline, so that Kong's repetition is in time. */
const HANG_MS = 2500;
/** For the time from its start to its first word, which a machine under load may draw out: to kill it then adds to the load. */
const START_MS = 30_000;
/** When an active worker is silent for so long, another one takes its place. */
const SILENT_MS = 1250;
/** Connections wait at least so long for a worker to be replaced. A hung one must have been killed by then: it listens, too. */
const NOBODY_MS = HANG_MS + 1500;
/** A worker that ended sooner than this after its start is replaced after a pause. */
const SHORT_LIFE_MS = 1000;
const RESTART_PAUSE_MS = 1000;
/** How long a start waits for workers to take an instance. One that is slower asks for it when it gets an event. */
const INSTANCE_WAIT_MS = 500;

const WORKER = join(import.meta.dirname, '..', '..', '..', 'bin', 'worker.js');

interface Member {
  readonly id: number;
  readonly child: ChildProcess;
  readonly startedAt: number;
  heardAt: number;
  /** Before that it would not hear anything. */
  begun: boolean;
  /** Whether it takes connections. */
  active: boolean;
  /** CPU time as of its last beat, and when that came. */
  cpuMs: number;
  cpuAt: number;
  /** How much of a core it used between its last two beats. */
  share: number;
  connections: number;
  events: number;
  delayed: number;
  requests: RequestCounts;
  injections: InjectionCounts;
  shadow: ShadowCounts;
  /** Number of the last change that it has acted upon. */
  forgot: number;
  /** To be sent in one message. */
  answers: NumberedAnswer[];
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
  readonly #formerInjections = createInjectionCounts();
  readonly #formerShadow = createShadowCounts();
  readonly #activeCount: ActiveCount;
  /** How many should have taken connections when this was last looked at. */
  #relievedAt: number;
  /** When a worker that works was seen last. */
  #servedAt = performance.now();
  #config: Config;
  #nextMember = 1;
  /** The socket, and the name it was bound under, which is its own until it is put in place. */
  #handle: SocketHandle | undefined;
  #unpublished: string | undefined;
  #ending = false;
  #changes = 0;
  #waiting: (() => void)[] = [];
  #tickAt = performance.now();
  #timers: NodeJS.Timeout[] = [];
  #onListening: { resolve: () => void; reject: (error: Error) => void } | undefined;

  constructor(config: Config, file: SocketFile, authority: Authority, logger: Logger) {
    this.#config = config;
    this.#file = file;
    this.#authority = authority;
    this.#logger = logger;
    this.#logOnce = createLogOnce(logger);
    const { workers, minActiveWorkers } = config.server;
    this.#activeCount = new ActiveCount(
      minActiveWorkers,
      activeLimit(workers, minActiveWorkers, availableParallelism()),
    );
    this.#relievedAt = this.#activeCount.wanted;
    this.#stopListening = authority.onChange((change) => this.#onChange(change));
  }

  /** Resolves when every worker that runs acts upon all changes that were announced before the call. */
  async actedUpon(): Promise<void> {
    const change = this.#changes;
    const waitsFor = (): boolean =>
      [...this.#members.values()].some((member) => isReachable(member) && member.forgot < change);
    while (waitsFor()) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
  }

  #onChange(change: StoreChange): void {
    this.#changes += 1;
    this.#tellAll({ kind: 'changed', ids: change.kind === 'all' ? null : change.ids, change: this.#changes });
  }

  #wakeWaiting(): void {
    for (const wake of this.#waiting.splice(0)) wake();
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

  get injections(): InjectionCounts {
    const sum = addCounts(createInjectionCounts(), this.#formerInjections);
    for (const { injections } of this.#members.values()) addCounts(sum, injections);
    return sum;
  }

  get shadow(): ShadowCounts {
    const sum = addCounts(createShadowCounts(), this.#formerShadow);
    for (const { shadow } of this.#members.values()) addCounts(sum, shadow);
    return sum;
  }

  /** Resolves when Kong can connect. Throws HKA_SOCKET. */
  async listen(): Promise<void> {
    await this.#file.claim();
    this.#bind();
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
      for (const { child } of this.#members.values()) child.kill('SIGKILL');
    }, this.#config.server.drainMs + 1000);
    await Promise.all(
      [...this.#members.values()].map(async ({ child }) => {
        await once(child, 'exit');
        // What it has said last.
        if (child.connected) await once(child, 'disconnect');
      }),
    );
    clearTimeout(killed);
    for (const timer of this.#timers) clearInterval(timer);
    this.#handle?.close();
  }

  /** Over all workers, as of their last beats. */
  #sum(what: 'events' | 'connections' | 'delayed'): number {
    return [...this.#members.values()].reduce((sum, member) => sum + member[what], 0);
  }

  #fork(): void {
    const child = fork(WORKER, [], { serialization: 'json' });
    const now = performance.now();
    const member: Member = {
      id: this.#nextMember,
      child,
      startedAt: now,
      heardAt: now,
      begun: false,
      active: false,
      cpuMs: 0,
      cpuAt: now,
      share: 0,
      connections: 0,
      events: 0,
      delayed: 0,
      requests: createRequestCounts(),
      injections: createInjectionCounts(),
      shadow: createShadowCounts(),
      answers: [],
      // It remembers nothing from before.
      forgot: this.#changes,
    };
    this.#nextMember += 1;
    this.#members.set(member.id, member);
    child.on('message', (message: ToSupervisor) => this.#onMessage(member, message));
    // A message to a worker that has just died, or one that could not be started at all.
    child.on('error', (error) => {
      this.#logger.debug({ worker: child.pid, err: describeError(error) }, 'worker channel');
      if (child.pid === undefined) this.#onExit(member, null, null);
    });
    child.on('exit', (code, signal) => this.#onExit(member, code, signal));
  }

  #onExit(member: Member, code: number | null, signal: string | null): void {
    this.#members.delete(member.id);
    addCounts(this.#formerRequests, member.requests);
    addCounts(this.#formerInjections, member.injections);
    addCounts(this.#formerShadow, member.shadow);
    this.#instances.left(member.id);
    this.#wakeWaiting();
    if (this.#ending) return;
    this.#logger.error({ worker: member.child.pid, code, signal }, 'a worker ended; it is replaced');
    this.#balance();
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
          member.child.kill('SIGKILL');
          return;
        }
        // It remembers nothing from before; what has changed since it was forked was not told to it.
        member.forgot = this.#changes;
        member.begun = true;
        this.#wakeWaiting();
        this.#tell(member, { kind: 'begin', config: this.#config, instances: this.#instances.list() });
        this.#balance();
        return;
      case 'beat':
        member.share = Math.max(0, message.cpuMs - member.cpuMs) / Math.max(1, member.heardAt - member.cpuAt);
        member.cpuMs = message.cpuMs;
        member.cpuAt = member.heardAt;
        member.connections = message.connections;
        member.events = message.events;
        member.delayed = message.delayed;
        member.requests = message.requests;
        member.injections = message.injections;
        member.shadow = message.shadow;
        return;
      case 'listening':
        if (!this.#ending) this.#publish();
        return;
      case 'not listening': {
        const error = bindFault(
          this.#file.path,
          Object.assign(new Error(message.message), { code: message.code }),
        );
        this.#logger.error({ err: describeError(error) }, 'a worker cannot listen; it is replaced');
        this.#onListening?.reject(error);
        member.child.kill('SIGKILL');
        return;
      }
      case 'forgot':
        member.forgot = message.change;
        this.#wakeWaiting();
        return;
      case 'used':
        this.#authority.usage.add(message.uses);
        return;
      case 'started':
        this.#instances.taken(message.instance, member.id);
        return;
      case 'close':
        this.#instances.remove(message.instance);
        this.#tellAll({ kind: 'closed', instance: message.instance });
        return;
      case 'log':
        this.#logOnce(message.key, message.level, message.fields, message.message);
        return;
      case 'questions':
        for (const { id, question } of message.questions) void this.#answer(member, id, question);
    }
  }

  async #answer(member: Member, id: number, question: Question): Promise<void> {
    const answer = await this.#find(question).then(
      (value): Answer => ({ ok: true, value }),
      (error: unknown): Answer => {
        const { code, message, details } = toHkaError(error);
        if (code === 'HKA_INTERNAL') this.#logger.error({ err: describeError(error) }, 'a question failed');
        return { ok: false, code, message, details };
      },
    );
    member.answers.push({ id, answer });
    if (member.answers.length > 1) return;
    setImmediate(() => {
      const answers = member.answers;
      member.answers = [];
      this.#tell(member, { kind: 'answers', answers });
    });
  }

  async #find(question: Question): Promise<unknown> {
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
        const { reference, fields } = question;
        return (await this.#authority.secret(reference, fields)).pack(fields);
      }
      case 'refused':
        return this.#authority.refused(question.reference, question.generation);
      case 'start':
        return this.#startInstance(question.plugin, question.config);
    }
  }

  async #startInstance(plugin: string, config: unknown): Promise<number> {
    const started = this.#instances.add(plugin, config);
    const workers = [...this.#members.values()].filter(isReachable);
    const taken = this.#instances.takenByAll(
      started.instance,
      workers.map(({ id }) => id),
      INSTANCE_WAIT_MS,
    );
    for (const member of workers) this.#tell(member, { kind: 'instance', ...started });
    await taken;
    return started.instance;
  }

  /** Binds a socket that isn't in place yet. Throws HKA_SOCKET. */
  #bind(): void {
    const path = this.#file.temporaryPath();
    let handle: SocketHandle;
    try {
      handle = bindSocket(path);
    } catch (error) {
      throw bindFault(this.#file.path, error as Error);
    }
    this.#handle?.close();
    this.#handle = handle;
    this.#unpublished = path;
  }

  /** A worker listens: the socket is put in place, unless another one was sooner. */
  #publish(): void {
    if (this.#unpublished === undefined) return;
    try {
      this.#file.publish(this.#unpublished);
      this.#unpublished = undefined;
      this.#onListening?.resolve();
    } catch (error) {
      this.#onListening?.reject(error as Error);
      this.#logger.error({ err: describeError(error) }, 'the socket cannot be put in place');
    }
    this.#onListening = undefined;
  }

  #replaceSocketIfMissing(): void {
    // One at a time: workers leave the former socket as soon as they listen on a new one.
    if (this.#ending || this.#handle === undefined) return;
    if (!this.#file.isMissing() || this.#unpublished !== undefined) return;
    this.#logger.warn({ socket: this.#file.path }, 'the socket had been removed; it is made again');
    try {
      this.#bind();
    } catch (error) {
      this.#logger.error({ err: describeError(error) }, 'the socket cannot be made again');
      return;
    }
    for (const member of this.#members.values()) if (member.active) this.#activate(member);
  }

  /** Lets as many workers take connections as there should be. */
  #balance(): void {
    if (this.#ending) return;
    const now = performance.now();
    const fit = [...this.#members.values()].filter(
      (member) => isReachable(member) && now - member.heardAt < SILENT_MS,
    );
    if (fit.length > 0) this.#servedAt = now;
    const active = fit.filter((member) => member.active);
    const standby = fit.filter((member) => !member.active);
    const { wanted } = this.#activeCount;
    const before = active.length;
    // Only to relieve the others: one that takes the place of another gets the connections that were that one's.
    const relieves = wanted > this.#relievedAt;
    while (active.length < wanted) {
      const next = standby.shift();
      if (next === undefined) break;
      // The new one gets its part of the connections as Kong opens them again.
      if (relieves) {
        for (const member of active) this.#tell(member, { kind: 'shed', share: 1 / (active.length + 1) });
      }
      this.#activate(next);
      active.push(next);
    }
    // Where nobody could be added, the next one that can be still relieves the others.
    this.#relievedAt = Math.min(wanted, Math.max(this.#relievedAt, active.length));
    while (active.length > wanted) {
      const last = active.pop();
      if (last === undefined) break;
      last.active = false;
      this.#tell(last, { kind: 'stop listening' });
      this.#tell(last, { kind: 'shed', share: 1 });
    }
    if (active.length !== before)
      this.#logger.debug({ active: active.length }, 'workers that take connections');
    for (const member of active) this.#tell(member, { kind: 'active', workers: active.length });
  }

  /**
   * Nobody takes connections, and who waits for one has waited for as long as an event may take: Kong shall answer at once, and
   * not when its own patience ends.
   */
  #refuse(): void {
    if (this.#handle === undefined || this.#unpublished !== undefined) return;
    this.#logger.error(
      { workers: this.#members.size },
      'no worker works; connections are refused until one does',
    );
    this.#handle.close();
    this.#handle = undefined;
  }

  #activate(member: Member): void {
    if (this.#handle === undefined) {
      try {
        this.#bind();
      } catch (error) {
        this.#logOnce('bind', 'error', { err: describeError(error) }, 'the socket cannot be made again');
        return;
      }
    }
    member.active = true;
    this.#tell(member, { kind: 'listen' }, this.#handle);
  }

  #tick(): void {
    const now = performance.now();
    // After a pause of this very process the workers' beats are still unread: nobody is judged by it.
    const paused = now - this.#tickAt > 2 * BEAT_MS;
    this.#tickAt = now;
    if (paused) this.#servedAt = now;
    for (const member of this.#members.values()) {
      if (paused) member.heardAt = now;
      if (now - member.heardAt > (member.begun ? HANG_MS : START_MS)) {
        this.#logger.error(
          { worker: member.child.pid, silentMs: Math.round(now - member.heardAt) },
          'a worker is silent; it is killed and replaced',
        );
        member.child.kill('SIGKILL');
      }
    }
    this.#activeCount.beat(
      [...this.#members.values()].filter(({ active }) => active).map(({ share }) => share),
      now,
    );
    this.#balance();
    // Only here, where a pause is noticed.
    if (now - this.#servedAt > Math.max(this.#config.server.eventDeadlineMs, NOBODY_MS)) this.#refuse();
    this.#tellAll({ kind: 'beat' });
  }

  #tellAll(message: ToWorker): void {
    for (const member of this.#members.values()) this.#tell(member, message);
  }

  #tell(member: Member, message: ToWorker, handle?: SocketHandle): void {
    if (!isReachable(member)) return;
    member.child.send(message, handle as SendHandle | undefined, (error) => {
      if (error !== null) this.#logger.debug({ err: describeError(error) }, 'a worker could not be told');
    });
  }
}

function isReachable({ begun, child }: Member): boolean {
  return begun && child.connected;
}

/** `changes` is the number of changes at the moment the answer is sent. */
function toAnswer(verdict: Verdict, changes: number): VerdictAnswer {
  const current = verdict.seen === changes;
  return verdict.ok
    ? {
        ok: true,
        credential: verdict.credential,
        current,
        readAt: verdict.readAt,
        ...(verdict.stale === true ? { stale: true } : {}),
      }
    : { ok: false, reason: verdict.reason, current };
}
