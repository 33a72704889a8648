/**
 * The tokens of an admin service that runs, as the configuration file has them now: read again when the file changes, and on
 * SIGHUP. A file that is at fault changes nothing, and the log says what is wrong with it.
 */
import { readFileSync } from 'node:fs';
import type { StoredToken } from '../admin/http/tokens.ts';
import { HkaError } from '../lib/errors.ts';
import { describeError, type Logger } from '../lib/logger.ts';
import type { PepperRing } from '../keys/pepper.ts';
import { loadConfig, type Config } from '../runtime/config.ts';
import { FileWatcher } from '../store/file/watcher.ts';

export interface TokenReloadOptions {
  /** What the service was started with. */
  readonly config: Config;
  /** Throws what is wrong with them. */
  readonly use: (tokens: readonly StoredToken[]) => void;
  readonly peppers: () => Promise<PepperRing>;
  readonly logger: Logger;
}

/** How often the file is looked at where the system tells of no changes. */
const POLL_MS = 2000;

export class TokenReload {
  readonly #options: TokenReloadOptions;
  readonly #watcher: FileWatcher;
  #text: string | undefined;
  #tokens: readonly StoredToken[];
  #reloading: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: TokenReloadOptions) {
    this.#options = options;
    this.#tokens = options.config.admin.tokens;
    const { file } = options.config;
    this.#text = textOf(file);
    const onMaybeChanged = (): void => {
      if (textOf(file) !== this.#text) void this.reload();
    };
    this.#watcher = new FileWatcher({ path: file, pollMs: POLL_MS, logger: options.logger, onMaybeChanged });
    // It may have changed since the service has read it.
    onMaybeChanged();
  }

  /** Never rejects. One after another: the last file read is the one that counts. */
  reload(): Promise<void> {
    this.#reloading = this.#reloading.then(async () => {
      if (this.#closed) return;
      const { config, logger } = this.#options;
      // Before it is read: a change in between is one more to be looked at.
      this.#text = textOf(config.file);
      try {
        await this.#take(loadConfig(config.file));
      } catch (error) {
        logger.error(
          { err: describeError(error), file: config.file },
          'the configuration is refused as it is now; the admin tokens before stay',
        );
      }
    });
    return this.#reloading;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#watcher.close();
    await this.#reloading;
  }

  async #take(next: Config): Promise<void> {
    const { config, use, logger } = this.#options;
    const { tokens } = next.admin;
    if (rest(next) !== rest(config)) {
      logger.warn(
        {},
        'changes under `admin`, but for its tokens, take effect at the next start of the admin service',
      );
    }
    if (JSON.stringify(tokens) === JSON.stringify(this.#tokens)) return;
    await this.#assertPeppers(tokens);
    use(tokens);
    this.#tokens = tokens;
    logger.info({ tokens: tokens.map(({ name }) => name) }, 'admin tokens read again');
  }

  /** A token whose pepper is not there could never be verified. Those that are taken away need no pepper. */
  async #assertPeppers(tokens: readonly StoredToken[]): Promise<void> {
    const known = new Set(this.#tokens.map(({ pepper }) => pepper));
    const fresh = tokens.filter(({ pepper }) => !known.has(pepper));
    if (fresh.length === 0) return;
    const { ids } = await this.#options.peppers();
    const missing = fresh.find(({ pepper }) => !ids.includes(pepper));
    if (missing === undefined) return;
    throw new HkaError(
      'HKA_CONFIG_INVALID',
      `admin.tokens: "${missing.name}" needs the pepper version "${missing.pepper}", which was not read at the start; restart the admin service`,
    );
  }
}

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
