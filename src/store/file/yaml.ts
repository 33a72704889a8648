/**
 * YAML as people and programs write it for us, read without giving anything of it away: js-yaml's own messages quote the
 * text around a fault, which may be a key or a hash.
 *
 * Invariant: what is thrown from here holds line, column and a fixed text, never a part of the input.
 */
import { CORE_SCHEMA, load, mergeTag, YAMLException } from 'js-yaml';
import { HkaError, type ErrorCode } from '../../lib/errors.ts';

const WITH_MERGE_KEYS = CORE_SCHEMA.withTags(mergeTag);

export interface YamlOptions {
  /** Names the input in messages. */
  readonly subject: string;
  /** Code of what is thrown. */
  readonly code: ErrorCode;
  /** Take `<<: *anchor`. */
  readonly mergeKeys?: boolean;
}

/** The one document in `text`; undefined when there is none. */
export function parseYaml(text: string, { subject, code, mergeKeys = false }: YamlOptions): unknown {
  try {
    return load(text, mergeKeys ? { schema: WITH_MERGE_KEYS, maxTotalMergeKeys: 1_000_000 } : {});
  } catch (error) {
    if (!(error instanceof YAMLException)) {
      throw new HkaError(
        code,
        `${subject} can't be read as YAML: ${error instanceof Error ? error.name : 'fault'}`,
      );
    }
    if (error.reason.startsWith('expected a document')) return undefined;
    const { mark } = error;
    const at = mark === undefined ? '' : ` at line ${mark.line + 1}, column ${mark.column + 1}`;
    throw new HkaError(code, `${subject} is not valid YAML${at}: ${withoutQuotations(error.reason)}`, {
      details: mark === undefined ? {} : { line: mark.line + 1, column: mark.column + 1 },
    });
  }
}

/** Names of aliases and tags stand between double quotes, in `!<…>` or after a colon. */
function withoutQuotations(reason: string): string {
  return reason.replace(/\s*(?:"[^]*"|!<[^]*>|: [^]*$)/g, '');
}
