/** What the `keys` commands work with: the store itself, or an admin service elsewhere. Both answer alike. */
import type { Actor } from '../admin/audit-log.ts';
import type { CredentialService, IssueRequest } from '../admin/credential-service.ts';
import { viewOf, type CredentialView } from '../admin/credential-view.ts';
import type { CredentialRecord } from '../store/record.ts';
import type { CredentialPatch, CredentialQuery, CredentialStore } from '../store/store.ts';

/** With the only copy of its key there will ever be. */
export type IssuedView = CredentialView & { readonly key: string };

export type ViewPatch = Pick<CredentialPatch, 'name' | 'tags' | 'expiresAt' | 'previous'>;

export interface Credentials {
  issue(request: IssueRequest): Promise<IssuedView>;
  find(query: CredentialQuery): AsyncIterable<CredentialView>;
  /** Rejects with HKA_CREDENTIAL_NOT_FOUND, as all that follow do. */
  get(id: string): Promise<CredentialView>;
  update(id: string, patch: ViewPatch): Promise<CredentialView>;
  rotate(id: string, overlapMs: number): Promise<IssuedView>;
  revoke(id: string, reason: string | undefined): Promise<CredentialView>;
  remove(id: string): Promise<void>;
}

/** Where the `keys` commands get them from. */
export interface CredentialSession {
  credentials(): Promise<Credentials>;
  /** Throws HKA_USAGE where the store is elsewhere. */
  store(): Promise<CredentialStore>;
  close(): Promise<void>;
}

const PAGE_SIZE = 500;

export class LocalCredentials implements Credentials {
  readonly #service: CredentialService;
  readonly #actor: Actor;

  constructor(service: CredentialService, actor: Actor) {
    this.#service = service;
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

  async revoke(id: string, reason: string | undefined): Promise<CredentialView> {
    return view(await this.#service.revoke(this.#actor, id, reason));
  }

  remove(id: string): Promise<void> {
    return this.#service.remove(this.#actor, id);
  }
}

function view(record: CredentialRecord): CredentialView {
  return viewOf(record, Date.now());
}
