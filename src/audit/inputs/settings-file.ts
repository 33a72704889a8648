/** kong.conf, and files of environment variables: `name = value` lines. A line that is neither stops the file. */
import { HkaError } from '../../lib/errors.ts';
import type { Deployment, Value } from '../deployment.ts';
import { settingsIn } from '../deployment.ts';
import { resolveVariables } from './variables.ts';

function* lines(text: string): Generator<{ readonly line: number; readonly content: string }> {
  for (const [index, content] of text.split(/\r?\n/).entries()) {
    if (!/^\s*(?:[#;]|$)/.test(content)) yield { line: index + 1, content };
  }
}

function unreadable(file: string, line: number, wanted: string): HkaError {
  return new HkaError('HKA_CONFIG_INVALID', `${file}:${line}:1 is not ${wanted}`, {
    details: { file, line, column: 1 },
  });
}

export function readKongConf(text: string, file: string, deployment: Deployment): void {
  const settings = new Map<string, Value>();
  for (const { line, content } of lines(text)) {
    const match = /^(\s*)([\w.-]+)\s*=\s*(.*)$/.exec(content);
    if (match === null) throw unreadable(file, line, 'a line `name = value` of kong.conf');
    const [, indent = '', name = '', rest = ''] = match;
    // Kong takes `#` for a comment unless it is escaped.
    const value = rest
      .replace(/(^|[^\\])#.*$/, '$1')
      .replaceAll('\\#', '#')
      .trim();
    settings.set(name.toLowerCase(), {
      text: unquoted(value),
      place: { source: file, line, column: indent.length + 1, path: name },
    });
  }
  deployment.instances.push({
    name: file,
    settings,
    place: { source: file, line: 1, column: 1, path: '' },
    isEnterprise: hasEnterpriseSettings(settings),
  });
}

export function readEnvironmentFile(text: string, file: string, deployment: Deployment): void {
  addEnvironment(file, variablesIn(text, file), deployment);
}

/** Throws HKA_CONFIG_INVALID for a line that is none of such a file. */
export function variablesIn(text: string, file: string): Map<string, Value> {
  const variables = new Map<string, Value>();
  for (const { line, content } of lines(text)) {
    const match = /^(\s*(?:export\s+)?)([A-Za-z_][\w.]*)(?:=(.*))?$/.exec(content);
    if (match === null) throw unreadable(file, line, 'a line NAME=value of an environment file');
    const [, before = '', name = '', value] = match;
    variables.set(name, {
      text: value === undefined ? undefined : resolveVariables(unquoted(value.trim())),
      place: { source: file, line, column: before.length + 1, path: name },
    });
  }
  return variables;
}

/** The KONG_ variables of a process, and the few of its neighbours that matter. */
export function readEnvironment(env: Readonly<NodeJS.ProcessEnv>, deployment: Deployment): void {
  const variables = new Map<string, Value>();
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith('KONG_')) continue;
    variables.set(name, { text, place: { source: 'environment', path: name } });
  }
  addEnvironment('environment', variables, deployment);
}

function addEnvironment(name: string, variables: Map<string, Value>, deployment: Deployment): void {
  deployment.environments.push({ name, variables });
  const settings = settingsIn(variables);
  if (settings.size === 0) return;
  const [first] = settings.values();
  const place = { ...(first?.place ?? { source: name }), path: '' };
  deployment.instances.push({ name, settings, place, isEnterprise: hasEnterpriseSettings(settings) });
}

/** Settings that only Kong Enterprise has. */
export function hasEnterpriseSettings(settings: ReadonlyMap<string, Value>): boolean {
  return ['enforce_rbac', 'admin_gui_auth', 'license_data', 'license_path', 'password', 'portal'].some(
    (name) => settings.has(name),
  );
}

function unquoted(text: string): string {
  const match = /^(["'])(.*)\1/.exec(text);
  return match?.[2] ?? text;
}
