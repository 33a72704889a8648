/** `migrate secrets` and its steps, as the command line knows them. Their code is loaded when one runs. */
import type { Command } from 'commander';
import { DEFAULT_PATH } from '../migrate/secrets/paths.ts';
import type { MigrateCommandDeps } from './migrate-commands.ts';
import type { SecretsContext, SecretsOptions } from './migrate-secrets.ts';
import type * as Steps from './migrate-secrets.ts';

type Module = typeof Steps;

/** `places` adds the options that say where the plugins are. */
export function addSecretsCommands(
  migrate: Command,
  { command, inSession }: MigrateCommandDeps,
  places: (made: Command) => Command,
): void {
  const secrets = migrate
    .command('secrets')
    .description(
      'plain secrets of request-transformer go into Vault and are sent by reference: plan, apply, rollback',
    );

  const journal = (made: Command): Command =>
    made.option(
      '--journal <file>',
      'what was done so far, 0600 (default: migration-secrets.journal beside the configuration)',
    );
  const chosen = (made: Command): Command =>
    journal(places(made))
      .option('--path <template>', 'where in Vault each secret is put', DEFAULT_PATH)
      .option('--include <fields...>', 'these are secrets too: PLUGIN/FIELD, * for anything')
      .option('--exclude <fields...>', 'these are none')
      .option('--always', 'also what is sent only in place of what a client sends (replace without add)');
  const step =
    (run: (module: Module, context: SecretsContext, options: SecretsOptions) => Promise<number>) =>
    (...parameters: [...unknown[], SecretsOptions, Command]): Promise<void> =>
      inSession(async (session, output, options: SecretsOptions) => {
        const module = await import('./migrate-secrets.ts');
        return run(module, new module.SecretsContext(session, output, options), options);
      })(...parameters);

  chosen(
    command(
      secrets,
      'plan',
      'list plain secrets in plugins, what would become of each, and what must be done by hand',
      [
        'hashed-key-auth migrate secrets plan --file kong.yml',
        'hashed-key-auth migrate secrets plan --kong-admin-url https://kong:8444 --kong-token-file token --json',
      ],
    ),
  ).action(step((module, context) => module.secretsPlan(context)));

  chosen(
    command(secrets, 'apply', 'put them into Vault, and references in their place; shows the changes first', [
      'hashed-key-auth migrate secrets apply --file kong.yml',
      'hashed-key-auth migrate secrets apply --file kong.yml --gateway-config hashed-key-auth.yaml --yes',
      "hashed-key-auth migrate secrets apply --include 'request-transformer/add.headers.X-Tenant' --path 'kv/edge/{route}/{name}'",
    ]),
  )
    .option('--yes', 'do it')
    .option('--gateway-config <file>', 'read each secret back with the log-in of this configuration too')
    .action(step((module, context, options) => module.secretsApply(context, options)));

  journal(
    places(
      command(secrets, 'rollback', 'put the secrets back from Vault, where they stay', [
        'hashed-key-auth migrate secrets rollback --file kong.yml --dry-run',
        'hashed-key-auth migrate secrets rollback --file kong.yml',
      ]),
    ),
  ).action(step((module, context) => module.secretsRollback(context)));

  journal(
    command(secrets, 'status', 'say how far it is, and what comes next', [
      'hashed-key-auth migrate secrets status --json',
    ]),
  ).action(step((module, context) => module.secretsStatus(context)));
}
