/**
 * Writes everything that follows from schemas/ and from the error registry: types, embedded schemas, Kong's forms of the
 * plugin schema, reference docs. With `--check` it writes nothing and fails when a file on disk differs.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { configurationTable, errorsPage } from './generate-docs.ts';
import { kongConfigFields, kongPluginSchema, toLua } from './generate-kong.ts';
import { interfaceOf } from './generate-types.ts';
import { checkNode, type SchemaNode } from './schema-model.ts';

const root = resolve(import.meta.dirname, '..', '..');
const PLUGIN_NAME = 'hashed-key-auth';
const PLUGIN_PRIORITY = 1250;

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8');
}

function schema(name: string): SchemaNode {
  const node = JSON.parse(read(`schemas/${name}.schema.json`)) as SchemaNode;
  checkNode(node, name);
  return node;
}

function constant(name: string, value: unknown): string {
  return `export const ${name} = ${JSON.stringify(value, null, 2)} as const;\n`;
}

function build(): Map<string, string> {
  const plugin = schema('hashed-key-auth');
  const config = schema('config');
  const credentials = schema('credentials');
  const { version } = JSON.parse(read('package.json')) as { version: string };
  const header = '// Generated from schemas/ by `make generate`. Do not edit.\n\n';
  const kong = kongPluginSchema(PLUGIN_NAME, plugin);
  const dump = {
    Protocol: 'ProtoBuf:1',
    Plugins: [
      { Name: PLUGIN_NAME, Priority: PLUGIN_PRIORITY, Version: version, Phases: ['access'], Schema: kong },
    ],
  };
  return new Map([
    ['src/generated/types.ts', header + [plugin, config, credentials].map(interfaceOf).join('\n')],
    [
      'src/generated/schemas.ts',
      header +
        [
          constant('pluginConfigSchema', plugin),
          constant('serverConfigSchema', config),
          constant('credentialsFileSchema', credentials),
        ].join('\n'),
    ],
    [
      'src/generated/kong-schema.ts',
      header +
        [
          constant('VERSION', version),
          constant('PLUGIN_NAME', PLUGIN_NAME),
          constant('PLUGIN_PRIORITY', PLUGIN_PRIORITY),
          constant('kongConfigFields', kongConfigFields(plugin)),
          constant('kongPluginDump', dump),
        ].join('\n'),
    ],
    [`src/generated/kong/${PLUGIN_NAME}.dump.json`, `${JSON.stringify(dump)}\n`],
    [`src/generated/kong/${PLUGIN_NAME}.schema.json`, `${JSON.stringify(kong, null, 2)}\n`],
    [
      `src/generated/kong/${PLUGIN_NAME}.schema.lua`,
      `-- Generated from schemas/ by \`make generate\`. Do not edit.\nreturn ${toLua(kong)}\n`,
    ],
    [
      'docs/configuration.md',
      [
        '# Configuration',
        '',
        '<!-- Generated from schemas/ by `make generate`. -->',
        '',
        '## The plugin, in Kong',
        '',
        plugin.description,
        '',
        configurationTable(plugin),
        '',
        '## The server and the command line',
        '',
        config.description,
        '',
        configurationTable(config),
        '',
        '## The credentials file',
        '',
        credentials.description,
        '',
        configurationTable(credentials),
        '',
      ].join('\n'),
    ],
    ['docs/errors.md', errorsPage()],
  ]);
}

/** Files in src/generated that nothing generates any more. */
function leftovers(expected: Set<string>): string[] {
  return readdirSync(join(root, 'src/generated'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .filter((path) => !expected.has(path));
}

const check = process.argv.includes('--check');
const files = build();
const stale: string[] = [];
for (const [path, content] of files) {
  let present = '';
  try {
    present = read(path);
  } catch {
    // Missing counts as different.
  }
  if (present === content) continue;
  stale.push(path);
  if (!check) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
}
stale.push(...leftovers(new Set(files.keys())));
if (check && stale.length > 0) {
  process.stderr.write(
    `not up to date, run \`make generate\`:\n${stale.map((path) => `  ${path}\n`).join('')}`,
  );
  process.exitCode = 1;
}
