/** Whether the token may do in Vault what this configuration needs: by Vault's own word, on paths of `vault policy`. */
import { messageOf } from '../lib/errors.ts';
import { policiesFor } from '../runtime/vault-policy.ts';
import { connectionsOf } from '../vault/connections.ts';
import { fail, ok, skipped, withPart, type Check } from './check.ts';

export const vaultRights: Check = {
  id: 'vault-rights',
  title: 'rights in Vault',
  run: (context) =>
    withPart(
      'Vault',
      () => context.startedVaults(),
      async (vaults) => {
        const config = context.config();
        if (vaults === undefined || config.vault === undefined)
          return skipped('no vault section is configured');
        const isRehashing = config.store.type === 'vault' && config.argon2.rehash;
        const policies = await policiesFor(
          config,
          // Who may renew and revoke its own token has that from the policy `default`.
          { service: 'gateway', upstream: [], rehash: isRehashing, noDefaultPolicy: false },
          (reference) => vaults.mount(reference),
        );
        const missing: string[] = [];
        const untold: string[] = [];
        let count = 0;
        for (const { connection, rules } of policies) {
          const place = connectionsOf(config.vault).size > 1 ? ` (connection ${connection})` : '';
          const paths = new Map(rules.map((rule) => [concrete(rule.path), rule]));
          if (paths.size === 0) continue;
          let held: ReadonlyMap<string, readonly string[]>;
          try {
            held = await vaults.capabilities(connection, [...paths.keys()]);
          } catch (error) {
            // What is missing elsewhere is missing all the same.
            untold.push(messageOf(error));
            continue;
          }
          for (const [path, rule] of paths) {
            count += 1;
            const has = held.get(path) ?? [];
            if (has.includes('root')) continue;
            const lacking = rule.capabilities.filter((one) => !has.includes(one));
            if (lacking.length > 0) missing.push(`${lacking.join(', ')} on ${rule.path}${place}`);
          }
        }
        if (missing.length > 0) {
          return fail(
            `the token lacks ${missing.join('; ')}`,
            'give it the policy that `hashed-key-auth vault policy --service gateway` prints',
          );
        }
        if (untold.length > 0) return skipped(`Vault does not tell: ${untold.join('; ')}`);
        if (count === 0) return ok('the configuration itself needs none');
        return ok(
          `${count} paths that the configuration needs; those of upstream secrets are not known here`,
        );
      },
    ),
};

/** A path that a rule with wildcards covers. */
function concrete(path: string): string {
  return path.replaceAll('+', 'x').replace(/\*$/, 'x');
}
