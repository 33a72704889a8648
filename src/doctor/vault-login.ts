/** Whether Vault can be reached and takes our credentials. */
import { ok, skipped, withPart, type Check } from './check.ts';

export const vaultLogin: Check = {
  id: 'vault-login',
  title: 'log-in to Vault',
  run: (context) =>
    withPart(
      'the configuration',
      async () => context.config(),
      async () => {
        const vaults = context.vaults();
        return vaults === undefined ? skipped('no vault section is configured') : ok(await vaults.check());
      },
    ),
};
