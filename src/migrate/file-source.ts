/** Credentials of a declarative file, Kong's own or decK's, YAML or JSON. */
import { readText } from '../lib/read-text.ts';
import { readDeclarative } from './declarative.ts';
import type { CredentialSource, SourceCredential, SourceProblem } from './source.ts';

const PAGE = 1000;

export class FileSource implements CredentialSource {
  readonly kind = 'file';
  readonly name: string;
  #problems: readonly SourceProblem[] = [];
  #warnings: readonly SourceProblem[] = [];

  constructor(path: string) {
    this.name = path;
  }

  async *pages(): AsyncIterable<readonly SourceCredential[]> {
    const { credentials, problems, warnings } = readDeclarative(readText(this.name, 'HKA_USAGE'), this.name);
    this.#problems = problems;
    this.#warnings = warnings;
    for (let at = 0; at < credentials.length; at += PAGE) yield credentials.slice(at, at + PAGE);
  }

  problems(): readonly SourceProblem[] {
    return this.#problems;
  }

  warnings(): readonly SourceProblem[] {
    return this.#warnings;
  }

  /** The file is read whole: what is not on its pages is not there. */
  async has(): Promise<boolean> {
    return false;
  }

  async close(): Promise<void> {
    // Nothing is open.
  }
}
