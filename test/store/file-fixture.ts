/** File stores in folders of their own, for the tests of the file store. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parsePhc } from '../../src/keys/phc.ts';
import type { Logger } from '../../src/lib/logger.ts';
import { createEmptyFile, openFileStore } from '../../src/store/file/file-store.ts';
import type { CredentialStore } from '../../src/store/store.ts';
import type { StoreFixture } from './conformance.ts';

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly fields: object;
}

export interface FileFixture extends StoreFixture {
  readonly folder: string;
  readonly path: string;
  /** What all stores of the fixture have logged. */
  readonly log: LogLine[];
  /** A store on the same file that is not open yet. */
  readonly unopened: (pollMs?: number) => CredentialStore;
}

/** Long: what a test sees before came from a notice. */
export const SLOW_POLL_MS = 3_600_000;

export function recordingLogger(log: LogLine[]): Logger {
  const at =
    (level: string) =>
    (fields: object, message: string): void =>
      void log.push({ level, message, fields });
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

export async function openFileFixture(
  options: { pollMs?: number; folder?: string; keepFolder?: boolean } = {},
): Promise<FileFixture> {
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'hka-store-'));
  const path = join(folder, 'credentials.yaml');
  createEmptyFile(path);
  const log: LogLine[] = [];
  const opened: CredentialStore[] = [];
  const unopened = (pollMs = options.pollMs ?? SLOW_POLL_MS): CredentialStore => {
    const store = openFileStore({
      path,
      pollMs,
      logger: recordingLogger(log),
      checkHash: (phc) => void parsePhc(phc),
    });
    opened.push(store);
    return store;
  };
  const another = async (): Promise<CredentialStore> => {
    const store = unopened();
    await store.open();
    return store;
  };
  return {
    store: await another(),
    folder,
    path,
    log,
    unopened,
    another,
    dispose: async () => {
      await Promise.all(opened.map((store) => store.close()));
      if (options.keepFolder !== true) rmSync(folder, { recursive: true, force: true });
    },
  };
}
