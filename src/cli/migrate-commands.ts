/** `migrate` and its steps, as the command line knows them. Their code is loaded when one runs. */
import type { Command } from 'commander';
import type { Io, Output } from './output.ts';
import type * as Steps from './migrate.ts';
import type { MigrateContext, MigrateOptions } from './migrate.ts';
import { addSecretsCommands } from './migrate-secrets-commands.ts';
import type { ShadowCommandOptions } from './migrate-shadow.ts';
import type { CliSession } from './session.ts';

export interface MigrateCommandDeps {
  readonly io: Io;
  /** Makes a command with --config and --json. */
  readonly command: (
    parent: Command,
    name: string,
    description: string,
    examples: readonly string[],
  ) => Command;
  /** Runs in a session; the last of `parameters` are commander's. */
  readonly inSession: <Options extends { readonly json?: boolean }>(
    run: (session: CliSession, output: Output, options: Options, ...args: unknown[]) => Promise<number>,
  ) => (...parameters: [...unknown[], Options, Command]) => Promise<void>;
}

type Module = typeof Steps;

export function addMigrateCommands(program: Command, { io, command, inSession }: MigrateCommandDeps): void {
  const migrate = program
    .command('migrate')
    .description('leave key-auth: plan, import, verify, shadow, switch, purge; rollback until the purge');

  const kong = (made: Command, what: string): Command =>
    made
      .option('--file <file>', `${what} are in this declarative file (Kong's or decK's, YAML or JSON)`)
      .option(
        '--kong-admin-url <url>',
        `${what} are behind this Admin API (default: the configuration's kong.admin_url)`,
      )
      .option('--kong-token-file <file>', 'file with the Kong-Admin-Token, mode 0600')
      .option('--kong-ca-file <file>', "PEM file of the CA of the Admin API's certificate")
      .option('--kong-cert-file <file>', 'PEM file of a client certificate for the Admin API')
      .option('--kong-key-file <file>', 'PEM file of its key, mode 0600')
      .option('--workspace <names>', 'workspaces of Kong Enterprise, separated by commas')
      .option('--workspace-header <name>', 'name the workspace in this header, not in the path')
      .option('--page-size <number>', 'entities in one page', '1000')
      .option('--timeout <duration>', 'longest wait for one answer of Kong', '30s');
  const places = (made: Command): Command =>
    kong(made, 'the keys')
      .option(
        '--kong-conf <file>',
        'the keys are read from the database that this kong.conf names (read only)',
      )
      .option(
        '--pg-password-file <file>',
        "file with the database's password, mode 0600 (default: kong.conf's)",
      )
      .option('--pg-ca-file <file>', "PEM file of the CA of the database's certificate")
      .option(
        '--journal <file>',
        'what was done so far, 0600 (default: migration.journal beside the configuration)',
      );
  const paced = (made: Command): Command =>
    made.option('--rate <number>', 'at most so many credentials a second');
  const dry = (made: Command): Command => made.option('--dry-run', 'say what would be done, change nothing');

  /** A step that gets its context, and what stands on the command line before the options. */
  const step = <Options extends MigrateOptions>(
    run: (module: Module, context: MigrateContext, options: Options, ...args: unknown[]) => Promise<number>,
  ): ((...parameters: [...unknown[], Options, Command]) => Promise<void>) =>
    inSession(async (session, output, options: Options & { readonly json?: boolean }, ...args: unknown[]) => {
      const module = await import('./migrate.ts');
      return run(module, new module.MigrateContext(session, output, io, options), options, ...args);
    });

  paced(
    places(
      command(migrate, 'plan', 'list what an import would do with each credential, weak and odd ones by id', [
        'hashed-key-auth migrate plan --kong-admin-url https://kong:8444 --kong-token-file token',
        'hashed-key-auth migrate plan --file kong.yml --json',
      ]),
    ),
  ).action(step((module, context) => module.migratePlan(context)));

  dry(
    paced(
      places(
        command(
          migrate,
          'import',
          'hash the keys; run again, it follows what was added, changed or deleted',
          [
            'hashed-key-auth migrate import --kong-conf /etc/kong/kong.conf',
            'hashed-key-auth migrate import --file kong.yml --weak-expire-in 90d --rate 200',
          ],
        ),
      ),
    ),
  )
    .option('--weak-expire-in <duration>', 'weak keys end then, unless they are rotated before')
    .option('--revoke <number>', 'so many may be revoked because they are gone at the source')
    .action(
      step((module, context, options: MigrateOptions & Parameters<Module['migrateImport']>[1]) =>
        module.migrateImport(context, options),
      ),
    );

  paced(
    places(
      command(
        migrate,
        'verify',
        'make a request with every key through the plugin server (exit status 4: some fail)',
        ['hashed-key-auth migrate verify', 'hashed-key-auth migrate verify --socket --rate 20'],
      ),
    ),
  )
    .option(
      '--socket [path]',
      'ask the server that runs there, not one of this process (default: server.socket)',
    )
    .option('--anew', 'ask again for keys that were verified before')
    .action(
      step((module, context, options: MigrateOptions & Parameters<Module['migrateVerify']>[1]) =>
        module.migrateVerify(context, options),
      ),
    );

  dry(
    places(
      command(
        migrate,
        'shadow',
        'compare with key-auth beside it, deciding nothing; --report: what it found (exit status 4: not all alike)',
        [
          'hashed-key-auth migrate shadow --route orders',
          'hashed-key-auth migrate shadow --yes',
          'hashed-key-auth migrate shadow --report',
          'hashed-key-auth migrate shadow --off',
        ],
      ),
    ),
  )
    .option('--route <routes...>', 'only beside key-auth on these routes, by name or id')
    .option('--service <services...>', 'only beside key-auth on these services, by name or id')
    .option('--plugin <ids...>', 'only beside these key-auth plugins')
    .option(
      '--in-path',
      'also where keys are hidden or in bodies: these routes answer 500 while the plugin server is down',
    )
    .option('--yes', 'do it')
    .option('--off', 'take away what was added')
    .option('--report', 'say what was found since the servers were started')
    .option(
      '--metrics-url <urls...>',
      "metrics of every node, for --report (default: the configuration's metrics.listen)",
    )
    .action(
      step(async (_module, context, options: MigrateOptions & ShadowCommandOptions) => {
        const { migrateShadow } = await import('./migrate-shadow.ts');
        return migrateShadow(context, options);
      }),
    );

  dry(
    paced(
      places(
        command(migrate, 'switch', 'make every key-auth plugin hashed-key-auth; shows the changes first', [
          'hashed-key-auth migrate switch',
          'hashed-key-auth migrate switch --yes',
        ]),
      ),
    ),
  )
    .option('--yes', 'do it')
    .option('--socket [path]', 'verify by the server that runs there')
    .option('--no-server', 'also where no running server is known that uses this store')
    .action(
      step((module, context, options: MigrateOptions & Parameters<Module['migrateSwitch']>[1]) =>
        module.migrateSwitch(context, options),
      ),
    );

  dry(
    paced(
      places(
        command(
          migrate,
          'purge',
          'delete the plain keys at the source, for ever, and look for what is left of them',
          [
            'hashed-key-auth migrate purge',
            'hashed-key-auth migrate purge --yes-delete-plain-keys 1204 --residue /var/backups/kong',
          ],
        ),
      ),
    ),
  )
    .option('--yes-delete-plain-keys <number>', 'do it, if there are so many')
    .option('--unverified-too', 'also those that are not known to work hashed: who holds them loses access')
    .option('--settle <duration>', 'how long ago the switch must be', '30s')
    .option('--residue <paths...>', 'files and folders to look through afterwards')
    .action(
      step((module, context, options: MigrateOptions & Parameters<Module['migratePurge']>[1]) =>
        module.migratePurge(context, options),
      ),
    );

  places(
    command(
      migrate,
      'residue',
      'find plain keys in dumps, files, logs and the database (exit status 4: there are some)',
      [
        'hashed-key-auth migrate residue /var/backups/kong kong.yml /var/log/nginx',
        'hashed-key-auth migrate residue --kong-conf /etc/kong/kong.conf',
      ],
    ),
  )
    .argument('[paths...]', 'files and folders')
    .action(
      step((module, context, _options, paths) => module.migrateResidue(context, (paths ?? []) as string[])),
    );

  dry(
    places(
      command(migrate, 'rollback', 'make the gateway what it was before the switch; not after a purge', [
        'hashed-key-auth migrate rollback --dry-run',
        'hashed-key-auth migrate rollback',
      ]),
    ),
  ).action(step((module, context) => module.migrateRollback(context)));

  command(migrate, 'status', 'say how far the migration is, and what comes next', [
    'hashed-key-auth migrate status --json',
  ])
    .option('--journal <file>', 'what was done so far (default: migration.journal beside the configuration)')
    .action(step((module, context) => module.migrateStatus(context)));

  addSecretsCommands(migrate, { io, command, inSession }, (made) => dry(kong(made, 'the plugins')));
}
