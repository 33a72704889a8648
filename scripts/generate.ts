/**
 * Writes everything that follows from schemas/, the error registry, the audit's rules and package-lock.json: types, embedded
 * schemas, Kong's forms of the plugin schema, reference docs. With `--check` it writes nothing and fails when a file on disk differs.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { configurationTable, errorsPage, withAuditRules } from './generate-docs.ts';
import { kongConfigFields, kongPluginSchema, toLua } from './generate-kong.ts';
import { licencesPage } from './generate-licences.ts';
import { interfaceOf } from './generate-types.ts';
import { lockedPackages } from './lockfile.ts';
import { checkNode, resolveRefs, type SchemaNode } from './schema-model.ts';

const root = resolve(import.meta.dirname, '..', '..');

interface Plugin {
  readonly name: string;
  readonly priority: number;
  readonly phases: readonly string[];
  readonly notOnConsumer: string;
  /** Another plugin that has the same configuration. */
  readonly configuredLike?: string;
}

/** One for each schema of the same name, unless it is configured like another one. Priorities are Kong's: the highest runs first. */
const PLUGINS: readonly Plugin[] = [
  {
    name: 'hashed-key-auth',
    // key-auth's.
    priority: 1250,
    phases: ['access'],
    notOnConsumer: 'Not on a consumer: this plugin finds out who it is.',
  },
  {
    name: 'vault-upstream-secrets',
    // After everything that authenticates, refuses or limits (acl 950, rate-limiting 910), and after request-transformer
    // (801): what that makes of a client's header could else end up under a secret's name. Ahead of all that sends the
    // request on by itself (ai-proxy 770, aws-lambda 750).
    priority: 790,
    phases: ['access'],
    notOnConsumer: "Not on a consumer: the reference can name the consumer's own secret.",
  },
  {
    name: 'vault-upstream-watch',
    priority: 790,
    phases: ['log'],
    notOnConsumer: 'Not on a consumer: put it where the secrets are configured.',
  },
  {
    name: 'hashed-key-auth-shadow',
    priority: 1251,
    phases: ['log'],
    notOnConsumer: 'Not on a consumer: put it where key-auth is.',
  },
  {
    name: 'hashed-key-auth-shadow-access',
    // Right ahead of key-auth (1250), which may hide the key or end the request.
    priority: 1251,
    phases: ['access', 'log'],
    notOnConsumer: 'Not on a consumer: put it where key-auth is.',
    configuredLike: 'hashed-key-auth-shadow',
  },
];

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8');
}

function schema(name: string): SchemaNode {
  const parse = (file: string): SchemaNode => JSON.parse(read(`schemas/${file}`)) as SchemaNode;
  const node = resolveRefs(parse(`${name}.schema.json`), parse);
  checkNode(node, name);
  return node;
}

function constant(name: string, value: unknown): string {
  return `export const ${name} = ${JSON.stringify(value, null, 2)} as const;\n`;
}

function build(): Map<string, string> {
  const plugins = PLUGINS.map((plugin) => {
    const own = schema(plugin.configuredLike ?? plugin.name);
    return { ...plugin, schema: own, kong: kongPluginSchema(plugin.name, own, plugin.notOnConsumer) };
  });
  const configured = plugins.filter(({ configuredLike }) => configuredLike === undefined);
  const config = schema('config');
  const credentials = schema('credentials');
  const { version } = JSON.parse(read('package.json')) as { version: string };
  const header = '// Generated from schemas/ by `make generate`. Do not edit.\n\n';
  const described = plugins.map(({ name, priority, phases, kong, schema: own }) => ({
    name,
    priority,
    phases,
    fields: kongConfigFields(own),
    // Kong loads the first plugin of a dump and no other.
    dump: {
      Protocol: 'ProtoBuf:1',
      Plugins: [{ Name: name, Priority: priority, Version: version, Phases: phases, Schema: kong }],
    },
  }));
  return new Map([
    [
      'src/generated/types.ts',
      header + [...configured.map(({ schema: own }) => own), config, credentials].map(interfaceOf).join('\n'),
    ],
    [
      'src/generated/schemas.ts',
      header +
        [
          ...configured.map(({ schema: own }) => constant(camelCase(`${own.title ?? ''}Schema`), own)),
          constant('serverConfigSchema', config),
          constant('credentialsFileSchema', credentials),
        ].join('\n'),
    ],
    [
      'src/generated/kong-schema.ts',
      header +
        [
          constant('VERSION', version),
          constant('kongPlugins', Object.fromEntries(described.map((plugin) => [plugin.name, plugin]))),
        ].join('\n'),
    ],
    ...described.flatMap(({ name, dump }) => {
      const kong = dump.Plugins[0]?.Schema;
      return [
        [`src/generated/kong/${name}.dump.json`, `${JSON.stringify(dump)}\n`],
        [`src/generated/kong/${name}.schema.json`, `${JSON.stringify(kong, null, 2)}\n`],
        [
          `src/generated/kong/${name}.schema.lua`,
          `-- Generated from schemas/ by \`make generate\`. Do not edit.\nreturn ${toLua(kong)}\n`,
        ],
      ] as const;
    }),
    [
      'docs/configuration.md',
      [
        '# Configuration',
        '',
        '<!-- Generated from schemas/ by `make generate`. -->',
        '',
        ...plugins.flatMap(({ name, schema: own }) => [
          `## The plugin ${name}, in Kong`,
          '',
          own.description,
          '',
          configurationTable(own),
          '',
        ]),
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
    ['docs/audit.md', withAuditRules(read('docs/audit.md'))],
    ['docs/licences.md', licencesPage(lockedPackages(root))],
  ]);
}

const camelCase = (name: string): string => name.charAt(0).toLowerCase() + name.slice(1);

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
