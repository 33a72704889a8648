/**
 * The command line. Each command's code is loaded when it runs, so that `dump`, which Kong runs at every start, needs no
 * configuration, no network and little time.
 */
import { Command, CommanderError, Help, type Option } from 'commander';
import { kongPlugins, VERSION } from '../generated/kong-schema.ts';
import { HkaError } from '../lib/errors.ts';
import type { CredentialSession } from './credentials.ts';
import type { TokenOptions } from './admin.ts';
import type { AuditOptions } from './audit.ts';
import type { RolesOptions } from './db.ts';
import type { DeleteOptions, ListOptions, RevokeOptions, RotateOptions, UpdateOptions } from './keys.ts';
import { addMigrateCommands } from './migrate-commands.ts';
import { Output, type Io } from './output.ts';
import type { RotateOptions as PepperRotateOptions } from './pepper.ts';
import type { ConfigLeeway } from '../runtime/config.ts';
import type { CliSession } from './session.ts';
import type { VaultPolicyOptions } from './vault-policy.ts';

interface CommonOptions {
  readonly config?: string;
  readonly json?: boolean;
}

const PLUGIN_NAMES = Object.keys(kongPlugins).join(', ');

const EXIT_CODES = `
Exit status: 0 done, 1 internal fault, 2 wrong usage, 3 not found or not valid, 4 configuration or data at fault,
5 store or Vault out of reach (try again), 6 conflict.`;

interface DoctorFlags {
  readonly pepperBackup?: readonly string[];
  readonly server: boolean;
  readonly kongConf?: string;
  readonly keyFile?: string;
}

interface AdminOptions extends CommonOptions {
  readonly adminUrl?: string;
  readonly tokenFile?: string;
  readonly caFile?: string;
}

async function openCredentials({
  config,
  adminUrl,
  tokenFile,
  caFile,
}: AdminOptions): Promise<CredentialSession> {
  if (adminUrl === undefined) {
    if (tokenFile !== undefined || caFile !== undefined) {
      throw new HkaError('HKA_USAGE', '--token-file and --ca-file are for --admin-url, which is missing');
    }
    const { CliSession } = await import('./session.ts');
    return new CliSession(config);
  }
  const { RemoteSession } = await import('./remote-credentials.ts');
  return new RemoteSession({
    adminUrl,
    ...(tokenFile === undefined ? {} : { tokenFile }),
    ...(caFile === undefined ? {} : { caFile }),
  });
}

function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

/** Runs one command and gives the exit status. Never throws. */
export async function main(
  argv: readonly string[],
  io: Io = { stdout: process.stdout, stderr: process.stderr, stdin: process.stdin },
): Promise<number> {
  const json = argv.includes('--json');
  let status = 0;
  const program = buildProgram(
    io,
    (code) => {
      status = code;
    },
    json,
  );
  try {
    await program.parseAsync(argv, { from: 'user' });
    return status;
  } catch (error) {
    if (!(error instanceof CommanderError)) return new Output(io, json).failure(error);
    if (error.exitCode === 0) return 0;
    return json ? new Output(io, json).failure(usageFault(error)) : 2;
  }
}

/** What commander has against the arguments, as an error of ours: for programs, which get no help after it. */
function usageFault({ message }: CommanderError): HkaError {
  return new HkaError('HKA_USAGE', message.replace(/^error: /, ''));
}

/** With options that a command can't do without marked as such. */
function optionDescription(this: Help, option: Option): string {
  const text = Help.prototype.optionDescription.call(this, option);
  return option.mandatory ? `${text} (required)` : text;
}

/** The whole command line. `finish` is given the exit status of the command that ran. `quiet`: says nothing of wrong usage. */
export function buildProgram(io: Io, finish: (code: number) => void, quiet = false): Command {
  const program = new Command('hashed-key-auth');
  program
    .description('Kong key authentication with hashed keys, and upstream secrets from Vault')
    .version(VERSION)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => (quiet ? undefined : io.stderr.write(text)),
      outputError: (text, write) => write(text.replace(/^error:/, 'error HKA_USAGE:')),
    })
    .configureHelp({ sortSubcommands: false, helpWidth: 100, optionDescription })
    .showHelpAfterError('(--help shows what is allowed)')
    .addHelpText('after', EXIT_CODES);

  /** A command with --config and --json whose action gets what it needs and gives an exit status. */
  const command = (
    parent: Command,
    name: string,
    description: string,
    examples: readonly string[],
  ): Command => {
    const made = parent.command(name).description(description);
    made.option('--json', 'print JSON, errors included (on stderr)');
    made.addHelpText('after', `\nExamples:\n${examples.map((example) => `  $ ${example}`).join('\n')}`);
    return made;
  };
  const withConfig = (made: Command): Command =>
    made.option(
      '-c, --config <file>',
      'configuration file (default: $HASHED_KEY_AUTH_CONFIG, ./hashed-key-auth.yaml, /etc/hashed-key-auth/hashed-key-auth.yaml)',
    );
  /** A command that works on the store, or on an admin service elsewhere. */
  const withAdmin = (made: Command): Command =>
    withConfig(made)
      .option('--admin-url <url>', 'an admin service in place of the store: https://host:port or unix:PATH')
      .option('--token-file <file>', 'file with the token for it, mode 0600')
      .option('--ca-file <file>', "PEM file of the CA of the admin service's certificate");
  const onCredentials =
    <Arguments extends unknown[], Options extends AdminOptions>(
      run: (
        session: CredentialSession,
        output: Output,
        options: Options,
        ...args: Arguments
      ) => Promise<number>,
    ) =>
    async (...parameters: [...Arguments, Options, Command]): Promise<void> => {
      const args = parameters.slice(0, -2) as Arguments;
      const options = parameters.at(-2) as Options;
      const output = new Output(io, options.json === true);
      const session = await openCredentials(options);
      try {
        finish(await run(session, output, options, ...args));
      } finally {
        await session.close();
      }
    };
  const inSession =
    <Arguments extends unknown[], Options extends CommonOptions>(
      run: (session: CliSession, output: Output, options: Options, ...args: Arguments) => Promise<number>,
      leeway: ConfigLeeway = {},
    ) =>
    async (...parameters: [...Arguments, Options, Command]): Promise<void> => {
      const args = parameters.slice(0, -2) as Arguments;
      const options = parameters.at(-2) as Options;
      const output = new Output(io, options.json === true);
      const { CliSession } = await import('./session.ts');
      const session = new CliSession(options.config, leeway);
      try {
        finish(await run(session, output, options, ...args));
      } finally {
        await session.close();
      }
    };

  command(program, 'init', 'write a commented configuration, a pepper (0600) and an empty store', [
    'hashed-key-auth init',
    'hashed-key-auth init /etc/hashed-key-auth',
  ])
    .argument('[folder]', 'where to', '.')
    .action(async (folder: string, options: CommonOptions) => {
      const { init } = await import('./init.ts');
      finish(init(new Output(io, options.json === true), folder));
    });

  withConfig(
    command(program, 'serve', 'run the plugin server that Kong talks to', [
      'hashed-key-auth serve --config /etc/hashed-key-auth/hashed-key-auth.yaml',
    ]),
  ).action(async (options: CommonOptions) => {
    const { serve } = await import('./serve.ts');
    finish(await serve(options.config));
  });

  withConfig(
    command(program, 'admin', 'run the HTTP admin service (issue, rotate, revoke and find keys)', [
      'hashed-key-auth admin --config /etc/hashed-key-auth/hashed-key-auth.yaml',
      'curl --unix-socket /etc/hashed-key-auth/admin.sock http://admin/hashed-key-auths',
    ]),
  ).action(async (options: CommonOptions) => {
    const { runAdmin } = await import('./admin.ts');
    finish(await runAdmin(options.config));
  });

  const adminToken = program.command('admin-token').description('tokens for the HTTP admin service');
  withConfig(
    command(
      adminToken,
      'create',
      'make a token: it is printed once, on stdout, its entry for the configuration on stderr',
      [
        'hashed-key-auth admin-token create --name ops --role admin',
        'hashed-key-auth admin-token create --name ci --role issuer --consumers ci-runner --tags ci',
      ],
    ),
  )
    .requiredOption('--name <name>', 'name of the token, in the audit log')
    .requiredOption('--role <role>', 'admin, issuer or auditor')
    .option(
      '--consumers <consumers>',
      'ids or usernames of the only consumers it reaches, separated by commas',
    )
    .option('--tags <tags>', 'it reaches only credentials with one of these tags, separated by commas')
    .action(
      inSession(
        async (session, output, options: CommonOptions & TokenOptions) => {
          const { createAdminToken } = await import('./admin.ts');
          return createAdminToken(session, output, options);
        },
        { withoutTokens: true },
      ),
    );

  command(program, 'dump', "print a plugin's description for Kong's pluginserver_…_query_cmd", [
    'hashed-key-auth dump hashed-key-auth',
    'hashed-key-auth dump vault-upstream-secrets',
  ])
    .argument('<plugin>', `which plugin: ${PLUGIN_NAMES}`)
    .option('--stock', "for kong-pdk's own server, which speaks another protocol (MsgPack:1)")
    .action((name: string, options: { stock?: boolean }) => {
      const plugin = Object.values(kongPlugins).find((one) => one.name === name);
      if (plugin === undefined) {
        throw new HkaError('HKA_USAGE', `there is no plugin "${name}"; there are: ${PLUGIN_NAMES}`);
      }
      const dump = options.stock === true ? { ...plugin.dump, Protocol: 'MsgPack:1' } : plugin.dump;
      io.stdout.write(`${JSON.stringify(dump)}\n`);
      finish(0);
    });

  const keys = program.command('keys').description('issue, list, revoke, verify and import keys');

  withAdmin(
    command(keys, 'create', 'issue a key; it is printed once, on stdout', [
      'hashed-key-auth keys create --consumer alice --expires-in 90d --tags team-a,mobile',
      'hashed-key-auth keys create --consumer id:2f6f1a0e-6f4e-4d2b-9d8e-0c6a6f1f9b11 --name "CI" --json',
    ]),
  )
    .requiredOption('--consumer <consumer>', 'id or username of the Kong consumer')
    .option('--id <uuid>', 'id of the credential (default: a new one); taken already, nothing is made')
    .option('--name <name>', 'a name for people')
    .option('--expires-in <duration>', 'life, such as 90d, 12h or 30m (default: it does not expire)')
    .option('--tags <tags>', 'tags, separated by commas')
    .action(
      onCredentials(async (session, output, options: AdminOptions & { consumer: string }) => {
        const { createKey } = await import('./keys.ts');
        return createKey(session, output, options);
      }),
    );

  withAdmin(
    command(keys, 'list', 'list credentials', [
      'hashed-key-auth keys list',
      'hashed-key-auth keys list --consumer alice --state active --json',
    ]),
  )
    .option('--consumer <consumer>', 'only of this consumer, by id or username')
    .option('--tag <tag>', 'only with this tag')
    .option('--state <state>', 'only active, expired or revoked ones')
    .option('--name <text>', 'only with this in their name')
    .option('--expiring-in <duration>', 'only those that expire within it, such as 14d')
    .option('--unused-for <duration>', 'only those neither made nor used for so long, such as 90d')
    .action(
      onCredentials(async (session, output, options: AdminOptions & ListOptions) => {
        const { listKeys } = await import('./keys.ts');
        return listKeys(session, output, options);
      }),
    );

  withAdmin(
    command(keys, 'show', 'show one credential (never its key)', [
      'hashed-key-auth keys show 6a1c8f0e-5f57-4a0a-8d56-2f3f6f0f8a10',
    ]),
  )
    .argument('<id>', 'the credential')
    .action(
      onCredentials(async (session, output, _options: AdminOptions, id: string) => {
        const { showKey } = await import('./keys.ts');
        return showKey(session, output, id);
      }),
    );

  withAdmin(
    command(keys, 'revoke', 'revoke one credential; it stops working at once', [
      'hashed-key-auth keys revoke 6a1c8f0e-5f57-4a0a-8d56-2f3f6f0f8a10 --reason "laptop lost"',
      'hashed-key-auth keys revoke 6a1c8f0e-5f57-4a0a-8d56-2f3f6f0f8a10 --wait --json',
    ]),
  )
    .argument('<id>', 'the credential')
    .option('--reason <text>', 'why')
    .option(
      '--wait',
      'until every gateway says that it refuses the key; exit status 5 when one does not within 5 s',
    )
    .action(
      onCredentials(async (session, output, options: AdminOptions & RevokeOptions, id: string) => {
        const { revokeKey } = await import('./keys.ts');
        return revokeKey(session, output, id, options);
      }),
    );

  withAdmin(
    command(keys, 'rotate', 'make a new key for a credential; the one before stays good for a while', [
      'hashed-key-auth keys rotate 6a1c8f0e-5f57-4a0a-8d56-2f3f6f0f8a10 --overlap 7d',
    ]),
  )
    .argument('<id>', 'the credential')
    .option('--overlap <duration>', 'how long the key before stays good, such as 7d or 0', '24h')
    .action(
      onCredentials(async (session, output, options: AdminOptions & RotateOptions, id: string) => {
        const { rotateKey } = await import('./keys.ts');
        return rotateKey(session, output, id, options);
      }),
    );

  withAdmin(
    command(keys, 'update', 'change name, tags or expiry, or end the overlap after a rotation', [
      'hashed-key-auth keys update 6a1c8f0e-5f57-4a0a-8d56-2f3f6f0f8a10 --tags team-b --expires-in 30d',
      'hashed-key-auth keys update 6a1c8f0e-5f57-4a0a-8d56-2f3f6f0f8a10 --end-overlap',
    ]),
  )
    .argument('<id>', 'the credential')
    .option('--name <name>', 'a name for people; empty takes it away')
    .option('--tags <tags>', 'all of its tags, separated by commas; empty takes them away')
    .option('--expires-in <duration>', 'life from now, such as 90d, 12h or 30m')
    .option('--never-expires', 'no expiry')
    .option('--end-overlap', 'refuse the key before the last rotation from now on')
    .action(
      onCredentials(async (session, output, options: AdminOptions & UpdateOptions, id: string) => {
        const { updateKey } = await import('./keys.ts');
        return updateKey(session, output, id, options);
      }),
    );

  withAdmin(
    command(keys, 'delete', 'delete one credential and all that is known of it', [
      'hashed-key-auth keys delete 6a1c8f0e-5f57-4a0a-8d56-2f3f6f0f8a10 --yes',
    ]),
  )
    .argument('<id>', 'the credential')
    .option('--yes', 'do it; it can not be taken back (required)')
    .option(
      '--wait',
      'until every gateway says that it refuses the key; exit status 5 when one does not within 5 s',
    )
    .action(
      onCredentials(async (session, output, options: AdminOptions & DeleteOptions, id: string) => {
        const { deleteKey } = await import('./keys.ts');
        return deleteKey(session, output, id, options);
      }),
    );

  withAdmin(
    command(keys, 'verify', 'say whether the key on stdin is good, and whose it is', [
      'hashed-key-auth keys verify < key.txt',
      'pass show api/alice | hashed-key-auth keys verify --json',
      'hashed-key-auth keys verify --admin-url unix:/run/hka/admin.sock < key.txt',
    ]),
  ).action(
    onCredentials(async (session, output, _options: AdminOptions) => {
      const { verifyKey } = await import('./keys.ts');
      return verifyKey(session, output, io);
    }),
  );

  withAdmin(
    command(keys, 'bulk', 'issue a key for each row of a CSV file (consumer, name, tags, expires_in)', [
      'hashed-key-auth keys bulk partners.csv --out keys.csv',
      'hashed-key-auth keys bulk partners.csv --out keys.csv --admin-url https://admin:8443 --token-file token',
    ]),
  )
    .argument('<file>', 'CSV with a heading; consumer is needed, the other columns are not')
    .requiredOption('--out <file>', 'where the keys go, in plain text (0600); run again, it is gone on with')
    .action(
      onCredentials(async (session, output, options: AdminOptions & { out: string }, file: string) => {
        const { bulkIssue } = await import('./bulk.ts');
        return bulkIssue(session, output, io, file, options);
      }),
    );

  withAdmin(
    command(
      keys,
      'import-hashes',
      'take over argon2id hashes made elsewhere, from CSV (consumer, hash, key_start; id, name, tags, expires_in)',
      ['hashed-key-auth keys import-hashes hashes.csv --dry-run'],
    ),
  )
    .argument('<file>', 'CSV with a heading; key_start is what the key begins with, 6 to 64 characters')
    .option('--dry-run', 'check everything, write nothing')
    .action(
      onCredentials(async (session, output, options: AdminOptions & { dryRun?: boolean }, file: string) => {
        const { importHashes } = await import('./bulk.ts');
        return importHashes(session, output, file, options);
      }),
    );

  withConfig(
    command(keys, 'import', "take over the keyauth_credentials of Kong's declarative file, as hashes", [
      'hashed-key-auth keys import kong.yml --dry-run',
      'hashed-key-auth keys import kong.yml',
    ]),
  )
    .argument('<file>', 'kong.yml or kong.json')
    .option('--dry-run', 'say what would be done, write nothing')
    .action(
      inSession(async (session, output, options: CommonOptions & { dryRun?: boolean }, file: string) => {
        const { importKeys } = await import('./import.ts');
        return importKeys(session, output, io, file, options);
      }),
    );

  const pepper = program.command('pepper').description('the secret that is mixed into every hash');
  withConfig(
    command(
      pepper,
      'status',
      'say what uses each version, and which can be retired (exit status 4: one is missing or wrong)',
      ['hashed-key-auth pepper status --json'],
    ),
  ).action(
    inSession(async (session, output, _options: CommonOptions) => {
      const { pepperStatus } = await import('./pepper.ts');
      return pepperStatus(session, output);
    }),
  );
  withConfig(
    command(
      pepper,
      'rotate',
      'make a new version and the current one; the others stay until nothing uses them',
      ['hashed-key-auth pepper rotate --dry-run', 'hashed-key-auth pepper rotate'],
    ),
  )
    .option('--id <id>', 'name of the new version (default: the next number)')
    .option('--print', 'leave the configuration file alone, and print what to change in it')
    .option('--dry-run', 'say what would be done, change nothing')
    .action(
      inSession(async (session, output, options: CommonOptions & PepperRotateOptions) => {
        const { rotate } = await import('./pepper.ts');
        return rotate(session, output, options);
      }),
    );
  withConfig(
    command(pepper, 'retire', 'take away a version that nothing uses any more', [
      'hashed-key-auth pepper retire 1',
    ]),
  )
    .argument('<id>', 'the version')
    .action(
      inSession(async (session, output, _options: CommonOptions, id: string) => {
        const { retire } = await import('./pepper.ts');
        return retire(session, output, id);
      }),
    );

  withConfig(
    command(
      program,
      'doctor',
      'look at every part of the installation and say what to do (exit status 1: a check fails)',
      [
        'hashed-key-auth doctor --kong-conf /etc/kong/kong.conf',
        'hashed-key-auth doctor --pepper-backup /mnt/safe/pepper --json',
      ],
    ),
  )
    .option(
      '--pepper-backup <file>',
      'a back-up of the pepper, to be compared; may be given several times',
      collect,
    )
    .option('--no-server', 'leave out what a running plugin server is needed for: none is meant to run here')
    .option(
      '--kong-conf <file>',
      'kong.conf of the Kong on this machine, to be checked; its query command is run',
    )
    .option('--key-file <file>', 'a file (0600) with a key that should be good, to be verified')
    .action(async (options: CommonOptions & DoctorFlags) => {
      const { doctor } = await import('./doctor.ts');
      const output = new Output(io, options.json === true);
      finish(
        await doctor(output, {
          configFile: options.config,
          pepperBackups: options.pepperBackup ?? [],
          expectsServer: options.server,
          kongConf: options.kongConf,
          keyFile: options.keyFile,
        }),
      );
    });

  withConfig(
    command(
      program,
      'health',
      'ask the service that runs here whether it is ready (exit status 0: it is, 5: it is not); for health checks',
      ['hashed-key-auth health', 'hashed-key-auth health --admin'],
    ),
  )
    .option('--admin', 'ask the admin service in place of the plugin server')
    .action(async (options: CommonOptions & { admin?: boolean }) => {
      const { health } = await import('./health.ts');
      finish(await health(new Output(io, options.json === true), options));
    });

  command(
    program,
    'audit',
    "find what is insecure in a deployment of Kong (exit status 1: --fail-on's severity or worse, 2: a broken input)",
    [
      'hashed-key-auth audit kong.conf kong.yml docker-compose.yml',
      'hashed-key-auth audit deploy/*.yaml --format sarif --out audit.sarif',
      'hashed-key-auth audit --admin-api https://127.0.0.1:8444 --admin-api-token-file token --fail-on medium',
      'hashed-key-auth audit kong.yml --write-baseline audit-baseline.json',
    ],
  )
    .argument(
      '[file...]',
      'kong.conf, environment files, kong.yml or decK state, compose files, Kubernetes manifests, schema.lua, hashed-key-auth.yaml',
    )
    .option('--env', 'look at the KONG_ variables of the present environment')
    .option('--admin-api <url>', 'look at a live Kong: http(s)://host:port')
    .option('--admin-api-token-file <file>', 'file with the Kong-Admin-Token for it, mode 0600')
    .option('--admin-api-ca-file <file>', 'PEM file of the CA of its certificate')
    .option('--postgres <url>', "look at Kong's database, reading only: postgres://user@host:port/database")
    .option('--postgres-password-file <file>', 'file with its password, mode 0600')
    .option(
      '--postgres-ca-file <file>',
      'PEM file of the CA of its certificate (without one TLS is left out on loopback)',
    )
    .option('--postgres-schema <schema>', "schema of Kong's tables", 'public')
    .option('--format <format>', 'table, json or sarif', 'table')
    .option('--out <file>', 'write the report to a file')
    .option('--fail-on <severity>', 'critical, high, medium, low, info or never', 'high')
    .option('--baseline <file>', 'leave out the findings that this file knows')
    .option('--write-baseline <file>', 'write all findings into a baseline, and exit with 0')
    .action(async (files: readonly string[], options: CommonOptions & AuditOptions) => {
      const { runAudit } = await import('./audit.ts');
      finish(await runAudit(new Output(io, options.json === true), io, files, options));
    });

  addMigrateCommands(program, {
    io,
    command: (...parameters) => withConfig(command(...parameters)),
    inSession: (run) => inSession(run),
  });

  const db = program.command('db').description('the database that credentials are kept in');
  withConfig(
    command(db, 'migrate', "make the tables, or bring them to this program's version", [
      'hashed-key-auth db migrate --config hashed-key-auth.yaml',
    ]),
  ).action(
    inSession(async (session, output, _options: CommonOptions) => {
      const { migrateDatabase } = await import('./db.ts');
      return migrateDatabase(session, output);
    }),
  );
  withConfig(
    command(db, 'status', 'say which migrations were run (exit status 4: some were not)', [
      'hashed-key-auth db status --json',
    ]),
  ).action(
    inSession(async (session, output, _options: CommonOptions) => {
      const { databaseStatus } = await import('./db.ts');
      return databaseStatus(session, output);
    }),
  );
  withConfig(
    command(db, 'roles', 'print SQL that gives two roles the rights they need, and no more (PostgreSQL)', [
      'hashed-key-auth db roles | psql "service=owner"',
      'hashed-key-auth db roles --gateway kong --admin key_admin --no-rehash',
    ]),
  )
    .option('--gateway <role>', 'role of the gateway', 'hashed_key_auth_gateway')
    .option('--admin <role>', 'role of admin service and command line', 'hashed_key_auth_admin')
    .option('--no-rehash', 'the gateway may not touch credentials at all; set argon2.rehash to false then')
    .action(
      inSession(async (session, output, options: CommonOptions & RolesOptions) => {
        const { databaseRoles } = await import('./db.ts');
        return databaseRoles(session, output, options);
      }),
    );

  const auditLog = program
    .command('audit-log')
    .description('who changed which credential, when and from where');
  withConfig(
    command(auditLog, 'verify', 'find entries that were changed, removed or inserted (exit status 4)', [
      'hashed-key-auth audit-log verify',
      'hashed-key-auth audit-log verify --head 118:V1p0…  # as noted elsewhere',
    ]),
  )
    .option('--head <seq:mac>', 'an entry that must be there: finds entries cut off at the end')
    .action(
      inSession(async (session, output, options: CommonOptions & { head?: string }) => {
        const { verifyAuditLog } = await import('./audit-log.ts');
        return verifyAuditLog(session, output, options);
      }),
    );
  withConfig(
    command(auditLog, 'show', 'show the latest entries', [
      'hashed-key-auth audit-log show --limit 50 --json',
    ]),
  )
    .option('--limit <number>', 'how many', '20')
    .action(
      inSession(async (session, output, options: CommonOptions & { limit: string }) => {
        const { showAuditLog } = await import('./audit-log.ts');
        return showAuditLog(session, output, options);
      }),
    );

  const vault = program.command('vault').description('what is needed in Vault');
  withConfig(
    command(
      vault,
      'policy',
      'print the policies that this configuration needs in Vault, and no more; changes nothing',
      [
        'hashed-key-auth vault policy --service gateway --kong kong.yml | vault policy write gateway -',
        'hashed-key-auth vault policy --service gateway --connection billing --reference vault://billing@kv/orders#token',
        'hashed-key-auth vault policy --service admin --no-default-policy --json',
      ],
    ),
  )
    .requiredOption('--service <service>', 'gateway, admin, pepper-rotation or migration-secrets')
    .option('--connection <name>', 'only for this connection; "default" is the vault section itself')
    .option(
      '--kong <files...>',
      "Kong's declarative files (kong.yml, decK) with the plugins that send secrets",
    )
    .option(
      '--reference <references...>',
      'further secrets for upstreams, such as vault://secret/orders/{consumer.id}#token',
    )
    .option('--path <template>', 'where `migrate secrets` puts them: its --path')
    .option('--rehash', 'the gateway may replace hashes: with store.type vault, write any credential')
    .option('--no-default-policy', "for tokens without Vault's policy `default`")
    .action(async (options: CommonOptions & VaultPolicyOptions) => {
      const { vaultPolicy } = await import('./vault-policy.ts');
      finish(await vaultPolicy(new Output(io, options.json === true), options));
    });

  command(program, 'completion', 'print a script that completes commands and options in the shell', [
    'source <(hashed-key-auth completion bash)',
    'hashed-key-auth completion zsh > "${fpath[1]}/_hashed-key-auth"',
  ])
    .argument('<shell>', 'bash or zsh')
    .action(async (shell: string) => {
      const { completionScript } = await import('./completion.ts');
      io.stdout.write(completionScript(program, shell));
      finish(0);
    });

  const config = program.command('config').description('the configuration file');
  withConfig(
    command(config, 'check', 'check the configuration, and the files and servers it names', [
      'hashed-key-auth config check --config hashed-key-auth.yaml',
    ]),
  ).action(async (options: CommonOptions) => {
    const { checkConfig } = await import('./config-check.ts');
    finish(await checkConfig(new Output(io, options.json === true), options.config));
  });

  return program;
}
