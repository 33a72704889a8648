/**
 * The tokens of an admin service that runs, as the configuration file has them now: read again when the file changes, and on
 * SIGHUP. A file that is at fault changes nothing, and the log says what is wrong with it.
 *
 * Invariant: a token that a file in order does not have any more is refused, whatever becomes of those that are new in it.
 */
import { readFileSync } from 'node:fs';
import type { StoredToken } from '../admin/http/tokens.ts';
import { HkaError, messageOf, toHkaError } from '../lib/errors.ts';
import { describeError, type Logger } from '../lib/logger.ts';
import type { PepperRing } from '../keys/pepper.ts';
import { loadConfig, type Config } from '../runtime/config.ts';
import { FileWatcher } from '../store/file/watcher.ts';

export interface TokenReloadOptions {
  /** What the service was started with. */
  readonly config: Config;
  /** Throws what is wrong with them. */
  readonly use: (tokens: readonly StoredToken[]) => void;
  /** Read now: a version that was made a moment ago is among them. */
  readonly peppers: () => Promise<PepperRing>;
  readonly logger: Logger;
}

/** How often the file is looked at where the system tells of no changes, and tried again after a failure. */
const POLL_MS = 2000;

export class TokenReload {
  readonly #options: TokenReloadOptions;
  readonly #watcher: FileWatcher;
  #text: string | undefined;
  #tokens: readonly StoredToken[];
  #reloading: Promise<void> = Promise.resolve();
  #closed = false;
  /** What the last reload failed with, for the log: it is not told again every two seconds. */
  #problem: string | undefined;
  /** What else is under `admin`, as it was read last. */
  #others: string | undefined;

  constructor(options: TokenReloadOptions) {
    this.#options = options;
    this.#tokens = options.config.admin.tokens;
    const { file } = options.config;
    this.#text = textOf(file);
    const onMaybeChanged = (): void => {
      if (textOf(file) !== this.#text) void this.reload();
      // A pepper version may have been added, or Vault be back, without a change of the file.
      else if (this.#problem !== undefined) void this.#reload(false);
    };
    this.#watcher = new FileWatcher({ path: file, pollMs: POLL_MS, logger: options.logger, onMaybeChanged });
    // It may have changed since the service has read it.
    onMaybeChanged();
  }

  /** Never rejects. One after another: the last file read is the one that counts. */
  reload(): Promise<void> {
    return this.#reload(true);
  }

  /** `tells`: also of a problem that was told before. */
  #reload(tells: boolean): Promise<void> {
    this.#reloading = this.#reloading.then(async () => {
      if (this.#closed) return;
      const { config } = this.#options;
      // Before it is read: a change in between is one more to be looked at.
      this.#text = textOf(config.file);
      try {
        await this.#take(loadConfig(config.file, { withoutTokens: true }));
        this.#problem = undefined;
      } catch (error) {
        const problem = messageOf(error);
        if (tells || problem !== this.#problem) this.#tell(error);
        this.#problem = problem;
      }
    });
    return this.#reloading;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#watcher.close();
    await this.#reloading;
  }

  #tell(error: unknown): void {
    const { config, logger } = this.#options;
    logger.error(
      { err: describeError(error), file: config.file },
      error instanceof NotTaken
        ? 'some admin tokens can not be taken over now, which is tried again; those taken away are refused'
        : 'the configuration is refused as it is now; the admin tokens before stay',
    );
  }

  async #take(next: Config): Promise<void> {
    const { config, use, logger } = this.#options;
    const { tokens } = next.admin;
    const others = rest(next);
    if (others !== this.#others && others !== rest(config)) {
      logger.warn(
        {},
        'changes under `admin`, but for its tokens, take effect at the next start of the admin service',
      );
    }
    this.#others = others;
    const take = (taken: readonly StoredToken[]): void => {
      if (JSON.stringify(taken) === JSON.stringify(this.#tokens)) return;
      use(taken);
      this.#tokens = taken;
      logger.info({ tokens: taken.map(({ name }) => name) }, 'admin tokens read again');
    };
    const known = new Set(this.#tokens.map(({ pepper }) => pepper));
    const ready = tokens.filter(({ pepper }) => known.has(pepper));
    // At once: reading peppers may take its time, or fail, and a stolen token is taken away in a hurry.
    take(ready);
    if (ready.length === tokens.length) return;
    const ids = new Set([...known, ...(await this.#pepperIds())]);
    take(tokens.filter(({ pepper }) => ids.has(pepper)));
    const missing = tokens.find(({ pepper }) => !ids.has(pepper));
    if (missing === undefined) return;
    throw new NotTaken(
      'HKA_CONFIG_INVALID',
      `admin.tokens: "${missing.name}" needs the pepper version "${missing.pepper}", which there is not; there are ${[...ids].join(', ')}`,
    );
  }

  async #pepperIds(): Promise<readonly string[]> {
    try {
      return (await this.#options.peppers()).ids;
    } catch (error) {
      const { code, message } = toHkaError(error);
      throw new NotTaken(code, `admin.tokens: the peppers of new ones can not be read: ${message}`);
    }
  }
}

/** What was new in the file does not count yet; what was taken out of it does. */
class NotTaken extends HkaError {}

function rest({ admin }: Config): string {
  return JSON.stringify({ ...admin, tokens: [] });
}

/** Undefined while it can't be read. */
function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
