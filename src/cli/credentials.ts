/** What the `keys` commands work with: the store itself, or an admin service elsewhere. Both answer alike. */
import type { Actor } from '../admin/audit-log.ts';
import type { CredentialService, IssueRequest } from '../admin/credential-service.ts';
import { viewOf, type CredentialView } from '../admin/credential-view.ts';
import type { GatewayWait, WaitView } from '../admin/wait.ts';
import type { CredentialRecord } from '../store/record.ts';
import type { CredentialPatch, CredentialQuery } from '../store/store.ts';

/** With the only copy of its key there will ever be. */
export type IssuedView = CredentialView & { readonly key: string };

/** With what the gateways have said, when that was waited for. */
export type RevokedView = CredentialView & Partial<WaitView>;

export type ViewPatch = Pick<CredentialPatch, 'name' | 'tags' | 'expiresAt' | 'previous'>;

export interface Credentials {
  issue(request: IssueRequest): Promise<IssuedView>;
  find(query: CredentialQuery): AsyncIterable<CredentialView>;
  /** Rejects with HKA_CREDENTIAL_NOT_FOUND, as all that follow do. */
  get(id: string): Promise<CredentialView>;
  update(id: string, patch: ViewPatch): Promise<CredentialView>;
  rotate(id: string, overlapMs: number): Promise<IssuedView>;
  /** `waitMs`: how long it is waited for the gateways; undefined: not at all. */
  revoke(id: string, reason: string | undefined, waitMs: number | undefined): Promise<RevokedView>;
  remove(id: string, waitMs: number | undefined): Promise<WaitView | undefined>;
}

/** Where the `keys` commands get them from. */
export interface CredentialSession {
  credentials(): Promise<Credentials>;
  close(): Promise<void>;
}

export interface LocalDeps {
  readonly service: CredentialService;
  readonly gateways: GatewayWait;
  readonly actor: Actor;
}

const PAGE_SIZE = 500;

export class LocalCredentials implements Credentials {
  readonly #service: CredentialService;
  readonly #gateways: GatewayWait;
  readonly #actor: Actor;

  constructor({ service, gateways, actor }: LocalDeps) {
    this.#service = service;
    this.#gateways = gateways;
    this.#actor = actor;
  }

  async issue(request: IssueRequest): Promise<IssuedView> {
    const { record, key } = await this.#service.issue(this.#actor, request);
    return { ...view(record), key: key.reveal() };
  }

  async *find(query: CredentialQuery): AsyncIterable<CredentialView> {
    let after: string | undefined;
    do {
      const page = await this.#service.find(query, {
        limit: PAGE_SIZE,
        ...(after === undefined ? {} : { after }),
      });
      const usage = await this.#service.usage(page.records.map(({ id }) => id));
      for (const record of page.records) yield viewOf(record, Date.now(), usage.get(record.id));
      after = page.next;
    } while (after !== undefined);
  }

  async get(id: string): Promise<CredentialView> {
    const record = await this.#service.get(id);
    return viewOf(record, Date.now(), (await this.#service.usage([id])).get(id));
  }

  async update(id: string, patch: ViewPatch): Promise<CredentialView> {
    return view(await this.#service.update(this.#actor, id, patch));
  }

  async rotate(id: string, overlapMs: number): Promise<IssuedView> {
    const { record, key } = await this.#service.rotate(this.#actor, id, { overlapMs });
    return { ...view(record), key: key.reveal() };
  }

  async revoke(id: string, reason: string | undefined, waitMs: number | undefined): Promise<RevokedView> {
    const revoke = (): Promise<CredentialRecord> => this.#service.revoke(this.#actor, id, reason);
    if (waitMs === undefined) return view(await revoke());
    const { done, wait } = await this.#gateways.after(waitMs, revoke);
    return { ...view(done), ...wait };
  }

  async remove(id: string, waitMs: number | undefined): Promise<WaitView | undefined> {
    const remove = (): Promise<void> => this.#service.remove(this.#actor, id);
    if (waitMs !== undefined) return (await this.#gateways.after(waitMs, remove)).wait;
    await remove();
    return undefined;
  }
}

function view(record: CredentialRecord): CredentialView {
  return viewOf(record, Date.now());
}
