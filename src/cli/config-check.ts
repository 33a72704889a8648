/** `config check`: the configuration, and every file and server that it names. Reports every fault it can reach. */
import { kongConsumers } from '../admin/consumers.ts';
import { assertPeppersMatch } from '../keys/pepper-checks.ts';
import type { PepperRing } from '../keys/pepper.ts';
import { messageOf } from '../lib/errors.ts';
import { silentLogger } from '../lib/logger.ts';
import { assertSocketPath } from '../lib/socket-file.ts';
import { findConfigFile, loadConfig, type Config } from '../runtime/config.ts';
import { loadPeppers, peppersNeedVault } from '../runtime/peppers.ts';
import { createStore, storeNeedsVault } from '../runtime/stores.ts';
import { connectionsOf } from '../vault/connections.ts';
import { DEFAULT_CONNECTION } from '../vault/reference.ts';
import { createVaults } from '../vault/vaults.ts';
import type { Output } from './output.ts';

interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly problem?: string;
  readonly found?: string;
}

export async function checkConfig(output: Output, configFile: string | undefined): Promise<number> {
  const config = loadConfig(findConfigFile(configFile));
  const checks: Check[] = [{ name: 'configuration', ok: true, found: config.file }];
  const attempt = async (name: string, work: () => Promise<string>): Promise<boolean> => {
    try {
      checks.push({ name, ok: true, found: await work() });
      return true;
    } catch (error) {
      checks.push({ name, ok: false, problem: messageOf(error) });
      return false;
    }
  };

  const vault = config.vault === undefined ? undefined : createVaults(config.vault, { logger: silentLogger });
  let vaultIsUp = true;
  // Credentials that one log-in uses up are the server's: then nothing can be read from Vault here.
  const untouched =
    config.vault !== undefined &&
    [...connectionsOf(config.vault).values()].some(
      ({ auth }) => auth.method === 'approle' && auth.secretIdWrapped === true,
    );
  if (config.vault !== undefined && vault !== undefined) {
    for (const name of connectionsOf(config.vault).keys()) {
      const label = name === DEFAULT_CONNECTION ? 'vault' : `vault ${name}`;
      const isUp = await attempt(label, () => vault.checkConnection(name));
      vaultIsUp &&= isUp;
    }
  }
  await attempt('socket', async () => {
    assertSocketPath(config.server.socket, 'server.socket');
    return config.server.socket;
  });
  const { kong } = config;
  if (kong !== undefined) await attempt('kong', async () => `Kong ${await kongConsumers(kong).version()}`);
  let ring: PepperRing | undefined;
  if (!peppersNeedVault(config) || (vaultIsUp && !untouched)) {
    await attempt('pepper', async () => {
      ring = await loadPeppers(config, vault);
      return `versions ${ring.ids.join(', ')}, current ${ring.current.id}`;
    });
  }
  const store = await createStore(
    config,
    silentLogger,
    (reference) => {
      if (vault === undefined) throw new Error('checked with the configuration');
      return vault.field(reference);
    },
    vault,
  );
  const checkStore = async (): Promise<string> => {
    await store.open();
    if (ring !== undefined) await assertPeppersMatch(store, ring);
    const unknown = new Set<string>();
    let count = 0;
    for await (const record of store.list()) {
      count += 1;
      if (ring !== undefined && ring.find(record.pepper) === undefined) unknown.add(record.pepper);
    }
    if (unknown.size > 0) {
      throw new Error(`credentials use pepper versions that are not configured: ${[...unknown].join(', ')}`);
    }
    return `${describeStore(config.store)}: ${count === 1 ? '1 credential' : `${count} credentials`}`;
  };
  if (!storeNeedsVault(config) || !untouched) await attempt('store', checkStore);
  await store.close();
  await vault?.close();

  const ok = checks.every((check) => check.ok);
  output.result(
    { ok, checks },
    checks
      .map((check) => `${check.ok ? 'ok  ' : 'FAIL'} ${check.name}: ${check.found ?? check.problem ?? ''}`)
      .join('\n'),
  );
  return ok ? 0 : 4;
}

function describeStore({ path, postgres, vault }: Config['store']): string {
  if (vault !== undefined) return `${vault.mount}/${vault.path} in Vault`;
  return postgres === undefined ? (path ?? '') : `${postgres.database} on ${postgres.host}:${postgres.port}`;
}
