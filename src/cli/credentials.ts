/** What the `keys` commands work with: the store itself, or an admin service elsewhere. Both answer alike. */
import type { Actor } from '../admin/audit-log.ts';
import type { ConsumerDirectory } from '../admin/consumers.ts';
import { checkedConsumer, withCheckedConsumers } from './kong-consumers.ts';
import type { BulkResults, BulkRow } from '../admin/bulk-file.ts';
import { issueInBulk, type BulkReport } from '../admin/bulk-issue.ts';
import type { VerificationView } from '../admin/verify-key.ts';
import type { CredentialService, IssueRequest } from '../admin/credential-service.ts';
import { viewOf, type CredentialView } from '../admin/credential-view.ts';
import type { GatewayWait, WaitView } from '../admin/wait.ts';
import type { CredentialRecord } from '../store/record.ts';
import type { CredentialPatch, CredentialQuery } from '../store/store.ts';

/** With the only copy of its key there will ever be. */
export type RotatedView = CredentialView & { readonly key: string };

/** Says whether Kong was asked for the consumer, or it was taken as given. */
export type IssuedView = RotatedView & { readonly consumer_checked: boolean };

/** With what the gateways have said, when that was waited for. */
export type RevokedView = CredentialView & Partial<WaitView>;

export type ViewPatch = Pick<CredentialPatch, 'name' | 'tags' | 'expiresAt' | 'previous'>;

export interface Credentials {
  issue(request: IssueRequest): Promise<IssuedView>;
  find(query: CredentialQuery): AsyncIterable<CredentialView>;
  /** Rejects with HKA_CREDENTIAL_NOT_FOUND, as all that follow do. */
  get(id: string): Promise<CredentialView>;
  update(id: string, patch: ViewPatch): Promise<CredentialView>;
  rotate(id: string, overlapMs: number): Promise<RotatedView>;
  /** `waitMs`: how long it is waited for the gateways; undefined: not at all. */
  revoke(id: string, reason: string | undefined, waitMs: number | undefined): Promise<RevokedView>;
  remove(id: string, waitMs: number | undefined): Promise<WaitView | undefined>;
  /** Whether a key is good, and whose. */
  verify(key: string): Promise<VerificationView>;
  /** Whether Kong is asked for consumers; undefined: the admin service decides. */
  readonly checksConsumers?: boolean;
  /** All or none. */
  importHashes(requests: readonly HashRequest[]): Promise<void>;
  /** Goes on where an earlier run was interrupted; each row gets exactly one key. */
  issueInBulk(work: BulkWork): Promise<BulkReport>;
}

export type HashRequest = IssueRequest & { readonly hash: string; readonly start: string };

export interface BulkWork {
  readonly rows: readonly BulkRow[];
  /** What the rows ask for, in their order; lives count from `now`. */
  readonly requests: (now: number) => readonly IssueRequest[];
  readonly results: BulkResults;
  /** Path of the results. */
  readonly out: string;
  readonly onProgress: (done: number) => void;
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
  /** What issued keys begin with. */
  readonly prefix: string;
  readonly verify: (key: string) => Promise<VerificationView>;
  /** Absent: consumers are taken as given. */
  readonly consumers?: ConsumerDirectory;
}

const PAGE_SIZE = 500;

export class LocalCredentials implements Credentials {
  readonly #deps: LocalDeps;
  readonly #service: CredentialService;
  readonly #gateways: GatewayWait;
  readonly #actor: Actor;

  constructor(deps: LocalDeps) {
    const { service, gateways, actor } = deps;
    this.#deps = deps;
    this.#service = service;
    this.#gateways = gateways;
    this.#actor = actor;
  }

  async issue(request: IssueRequest): Promise<IssuedView> {
    const { consumers } = this.#deps;
    const checked = consumers !== undefined;
    const consumer = checked ? await checkedConsumer(consumers, request.consumer) : request.consumer;
    const { record, key } = await this.#service.issue(this.#actor, { ...request, consumer });
    return { ...view(record), key: key.reveal(), consumer_checked: checked };
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

  async rotate(id: string, overlapMs: number): Promise<RotatedView> {
    const { record, key } = await this.#service.rotate(this.#actor, id, { overlapMs });
    return { ...view(record), key: key.reveal() };
  }

  async revoke(id: string, reason: string | undefined, waitMs: number | undefined): Promise<RevokedView> {
    const revoke = (): Promise<CredentialRecord> => this.#service.revoke(this.#actor, id, reason);
    if (waitMs === undefined) return view(await revoke());
    const { done, wait } = await this.#gateways.after(this.#actor.name, waitMs, revoke);
    return { ...view(done), ...wait };
  }

  async remove(id: string, waitMs: number | undefined): Promise<WaitView | undefined> {
    const remove = (): Promise<void> => this.#service.remove(this.#actor, id);
    if (waitMs !== undefined) return (await this.#gateways.after(this.#actor.name, waitMs, remove)).wait;
    await remove();
    return undefined;
  }

  get checksConsumers(): boolean {
    return this.#deps.consumers !== undefined;
  }

  verify(key: string): Promise<VerificationView> {
    return this.#deps.verify(key);
  }

  async importHashes(requests: readonly HashRequest[]): Promise<void> {
    await this.#service.importHashes(this.#actor, await this.#checked(requests));
  }

  async issueInBulk({ rows, requests, results, onProgress }: BulkWork): Promise<BulkReport> {
    const { prefix } = this.#deps;
    const wanted = await this.#checked(requests(Date.now()));
    return issueInBulk(this.#service, this.#actor, rows, wanted, results, { prefix, onProgress });
  }

  #checked<Request extends IssueRequest>(requests: readonly Request[]): Promise<readonly Request[]> {
    const { consumers } = this.#deps;
    return consumers === undefined ? Promise.resolve(requests) : withCheckedConsumers(consumers, requests);
  }
}

function view(record: CredentialRecord): CredentialView {
  return viewOf(record, Date.now());
}
