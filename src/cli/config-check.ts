/** `config check`: the configuration, and everything on this machine that it names. Reports every fault it can reach. */
import { messageOf } from '../lib/errors.ts';
import { silentLogger } from '../lib/logger.ts';
import { findConfigFile, loadConfig, type Config } from '../runtime/config.ts';
import { loadPeppers, peppersNeedVault } from '../runtime/peppers.ts';
import { createStore } from '../runtime/stores.ts';
import { createVault } from '../vault/vault.ts';
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

  const vault = config.vault === undefined ? undefined : createVault(config.vault, { logger: silentLogger });
  if (vault !== undefined) {
    await attempt('vault', async () => {
      await vault.start();
      await vault.ready();
      return `logged in to ${vault.status().address} by ${vault.status().session.method}`;
    });
  }
  let pepperIds: readonly string[] | undefined;
  if (vault === undefined || !peppersNeedVault(config) || checks.every(({ ok }) => ok)) {
    await attempt('pepper', async () => {
      const ring = await loadPeppers(config, vault);
      pepperIds = ring.ids;
      return `versions ${ring.ids.join(', ')}, current ${ring.current.id}`;
    });
  }
  const store = createStore(
    config,
    silentLogger,
    (reference) => {
      if (vault === undefined) throw new Error('checked with the configuration');
      return vault.field(reference);
    },
    vault,
  );
  await attempt('store', async () => {
    await store.open();
    const unknown = new Set<string>();
    let count = 0;
    for await (const record of store.list()) {
      count += 1;
      if (pepperIds?.includes(record.pepper) === false) unknown.add(record.pepper);
    }
    if (unknown.size > 0) {
      throw new Error(`credentials use pepper versions that are not configured: ${[...unknown].join(', ')}`);
    }
    return `${describeStore(config.store)}: ${count} credentials`;
  });
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
