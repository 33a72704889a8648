/** Vault stores on paths of their own of one Vault server, for the tests of the Vault store. */
import { randomUUID } from 'node:crypto';
import { parsePhc } from '../../src/keys/phc.ts';
import type { CredentialStore } from '../../src/store/store.ts';
import type { KvRecords } from '../../src/store/vault/kv.ts';
import { openVaultStore, type VaultStoreOptions } from '../../src/store/vault/vault-store.ts';
import { createVault, type Vault } from '../../src/vault/vault.ts';
import type { VaultServer } from '../helpers/vault-server.ts';
import { keepLog, privateFile, vaultConfig } from '../vault/support.ts';
import type { StoreFixture } from './conformance.ts';
import { recordingLogger, type LogLine } from './file-fixture.ts';

export const MOUNT = 'secret';
/** Short: a change is noticed in a test's time. */
const POLL_MS = 50;

export interface VaultStoreFixture extends StoreFixture {
  readonly path: string;
  readonly log: LogLine[];
  /** The entries, with the root token. */
  readonly kv: () => KvRecords;
  /** A store that is not open yet, by default with the root token. */
  readonly unopened: (options?: Partial<VaultStoreOptions>) => CredentialStore;
  /** A client logged in with `token`, closed with the fixture. */
  readonly login: (token: string, address?: string, timeoutMs?: number) => Promise<Vault>;
}

export async function openVaultFixture(
  server: VaultServer,
  options: Partial<VaultStoreOptions> = {},
): Promise<VaultStoreFixture> {
  const path = `stores/${randomUUID()}`;
  const log: LogLine[] = [];
  const vaults: Vault[] = [];
  const opened: CredentialStore[] = [];
  const login = async (token: string, address = server.address, timeoutMs = 2000): Promise<Vault> => {
    const auth = { method: 'token', tokenFile: privateFile(token) } as const;
    const vault = createVault(vaultConfig(address, auth, { timeoutMs }), { logger: keepLog() });
    vaults.push(vault);
    await vault.start();
    await vault.ready();
    return vault;
  };
  const root = await login(server.rootToken);
  const kv = (): KvRecords => root.records({ mount: MOUNT, path });
  const unopened = (more: Partial<VaultStoreOptions> = {}): CredentialStore => {
    const store = openVaultStore({
      records: kv,
      pollMs: POLL_MS,
      maxStaleMs: 60_000,
      logger: recordingLogger(log),
      checkHash: (phc) => void parsePhc(phc),
      ...options,
      ...more,
    });
    opened.push(store);
    return store;
  };
  const another = async (): Promise<CredentialStore> => {
    const store = unopened();
    await store.open();
    return store;
  };
  return {
    store: await another(),
    another,
    unopened,
    path,
    log,
    kv,
    login,
    dispose: async () => {
      for (const store of opened) await store.close();
      for (const vault of vaults) await vault.close();
    },
  };
}
