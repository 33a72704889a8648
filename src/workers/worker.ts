/**
 * One worker process: serves Kong on the socket that all workers share. It lives as long as its supervisor does.
 * Started by src/workers/supervisor.ts; importing it starts nothing.
 */
import { describeError, createLogger, type Logger } from '../lib/logger.ts';
import { errnoOf, HkaError, messageOf } from '../lib/errors.ts';
import type { PluginDefinition } from '../plugin/kong.ts';
import { createPlugins } from '../plugin/plugins.ts';
import type { RunningInstance } from '../server/instances.ts';
import { PluginServer, type SocketHandle } from '../server/plugin-server.ts';
import {
  BEAT_MS,
  STALE_AFTER_MS,
  type Answer,
  type NumberedAnswer,
  type NumberedQuestion,
  type Question,
  type StartedInstance,
  type ToSupervisor,
  type ToWorker,
} from './messages.ts';
import { startWarmUp } from './warm-up.ts';
import { WorkerRuntime, type Link } from './worker-runtime.ts';

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/**
 * In a flood of failures, questions are gathered for so long: nearly all are about keys that don't exist, and who waits for
 * argon2 doesn't notice.
 */
const GATHER_MS = 5;
/** How often it is told which keys were used. */
const USAGE_MS = 5000;

class Supervisor implements Link {
  /** Whether many questions are to be expected. */
  isFlooded = (): boolean => false;
  readonly #pending = new Map<number, Pending>();
  #questions: NumberedQuestion[] = [];
  #nextId = 1;
  #heardAt = 0;

  heard(): void {
    this.#heardAt = performance.now();
  }

  isAlive(): boolean {
    return performance.now() - this.#heardAt < STALE_AFTER_MS;
  }

  ask(question: Question): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const id = this.#nextId;
      this.#nextId += 1;
      this.#pending.set(id, { resolve, reject });
      this.#questions.push({ id, question });
      if (this.#questions.length > 1) return;
      if (this.isFlooded()) setTimeout(this.#send, GATHER_MS);
      else setImmediate(this.#send);
    });
  }

  readonly #send = (): void => {
    const questions = this.#questions;
    this.#questions = [];
    this.tell({ kind: 'questions', questions });
  };

  log(key: string, level: 'warn' | 'error', fields: object, message: string): void {
    this.tell({ kind: 'log', key, level, fields, message });
  }

  answered(answers: readonly NumberedAnswer[]): void {
    for (const { id, answer } of answers) this.#answered(id, answer);
  }

  #answered(id: number, answer: Answer): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (answer.ok) pending?.resolve(answer.value);
    else pending?.reject(new HkaError(answer.code, answer.message, { details: { ...answer.details } }));
  }

  tell(message: ToSupervisor, sent: () => void = () => undefined): void {
    // A supervisor that is gone takes this process with it (see `disconnect`): there is nobody to report it to.
    process.send?.(message, undefined, undefined, sent);
  }
}

class Worker {
  readonly #supervisor: Supervisor;
  readonly #runtime: WorkerRuntime;
  readonly #server: PluginServer;
  readonly #plugins: ReadonlyMap<string, PluginDefinition>;
  readonly #logger: Logger;

  constructor(begin: ToWorker & { kind: 'begin' }, supervisor: Supervisor) {
    this.#supervisor = supervisor;
    this.#logger = createLogger(begin.config.log.level);
    this.#runtime = new WorkerRuntime(begin.config, supervisor, this.#logger);
    supervisor.isFlooded = () => this.#runtime.throttle.isFlooded;
    const plugins = createPlugins(this.#runtime);
    this.#plugins = new Map(plugins.map((plugin) => [plugin.name, plugin]));
    this.#server = new PluginServer(begin.config.server, plugins, this.#logger, {
      addInstance: (definition, _plugin, config) => this.#announce(definition.name, config),
      closeInstance: (instance) => {
        supervisor.tell({ kind: 'close', instance });
        return this.#server.instances.remove(instance);
      },
    });
    for (const started of begin.instances) this.#take(started);
    setInterval(() => this.#beat(), BEAT_MS);
    setInterval(() => this.#handOverUsage(), USAGE_MS);
    startWarmUp(begin.config, () => this.#server.runningEvents > 0, this.#logger);
  }

  onMessage(message: ToWorker, handle: SocketHandle | undefined): void {
    this.#supervisor.heard();
    switch (message.kind) {
      case 'begin':
      case 'beat':
        return;
      case 'listen':
        if (handle !== undefined) void this.#listen(handle);
        return;
      case 'stop listening':
        this.#server.stopListening();
        return;
      case 'shed':
        this.#server.shed(message.share);
        return;
      case 'active':
        this.#runtime.shareLimits(message.workers);
        return;
      case 'settings':
        this.#runtime.use(message.config);
        return;
      case 'instance':
        this.#take(message);
        this.#supervisor.tell({ kind: 'started', instance: message.instance });
        return;
      case 'closed':
        this.#server.instances.remove(message.instance);
        return;
      case 'changed':
        this.#runtime.verifier().forget(message.ids);
        this.#supervisor.tell({ kind: 'forgot', change: message.change });
        return;
      case 'answers':
        this.#supervisor.answered(message.answers);
        return;
      case 'drain':
        void this.#server.close().then(() => this.#handOverUsage(() => process.exit(0)));
    }
  }

  async #listen(handle: SocketHandle): Promise<void> {
    try {
      await this.#server.listen(handle);
      this.#supervisor.tell({ kind: 'listening' });
    } catch (error) {
      this.#supervisor.tell({ kind: 'not listening', code: errnoOf(error) ?? '', message: messageOf(error) });
    }
  }

  /** Every worker gets to know the instance, this one among them, before its number goes to Kong. */
  async #announce(plugin: string, config: unknown): Promise<RunningInstance> {
    const id = await this.#supervisor.ask({ kind: 'start', plugin, config });
    const instance = this.#server.instances.get(Number(id));
    if (instance === undefined)
      throw new HkaError('HKA_INTERNAL', 'the supervisor did not send the instance');
    return instance;
  }

  #take({ instance, plugin, config }: StartedInstance): void {
    try {
      const definition = this.#plugins.get(plugin);
      if (definition === undefined)
        throw new HkaError('HKA_INTERNAL', `no plugin "${plugin}" in this worker`);
      this.#server.instances.put(instance, definition, definition.start(config));
    } catch (error) {
      // Refused here, it is unknown here, and Kong starts it again.
      this.#logger.error({ plugin, err: describeError(error) }, 'a worker could not take an instance');
    }
  }

  /** `done` is called once the supervisor's process has it. */
  #handOverUsage(done: () => void = () => undefined): void {
    const uses = this.#runtime.usage.take();
    if (uses.length === 0) done();
    else this.#supervisor.tell({ kind: 'used', uses }, done);
  }

  #beat(): void {
    const { connections, runningEvents, idleMs } = this.#server;
    const { requests, injections, shadow, throttle } = this.#runtime;
    const { user, system } = process.cpuUsage();
    this.#supervisor.tell({
      kind: 'beat',
      cpuMs: (user + system) / 1000 - idleMs,
      connections,
      events: runningEvents,
      delayed: throttle.delayed,
      requests,
      injections,
      shadow,
    });
  }
}

/** Called once in a process that the supervisor has forked. */
export function runWorker(): void {
  const supervisor = new Supervisor();
  let worker: Worker | undefined;
  // The supervisor decides when a worker ends; a terminal sends its signals to all of them.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined);
  // Without its supervisor a worker would let revoked keys in: it ends, and Kong answers 500.
  process.on('disconnect', () => process.exit(1));
  const logger = createLogger('error');
  process.on('uncaughtException', (error) =>
    logger.error({ err: describeError(error) }, 'uncaught; still serving'),
  );
  process.on('unhandledRejection', (error) =>
    logger.error({ err: describeError(error) }, 'unhandled; still serving'),
  );
  process.on('message', (message: ToWorker, handle) => {
    if (worker !== undefined) worker.onMessage(message, handle as SocketHandle | undefined);
    else if (message.kind === 'begin') {
      supervisor.heard();
      worker = new Worker(message, supervisor);
    }
  });
  supervisor.tell({ kind: 'hello' });
}
