/** The plugins that compare with key-auth: whatever goes wrong is counted, never felt, and no key leaves the process. R1. */
import * as assert from 'uvu/assert';
import type { Verdict, Verifier } from '../../src/keys/verdict.ts';
import { Ending } from '../../src/lib/abortable.ts';
import { HkaError } from '../../src/lib/errors.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { ConsumerCache } from '../../src/plugin/consumers.ts';
import { createShadows } from '../../src/plugin/hashed-key-auth-shadow.ts';
import type { Consumer, Credential, Kong, PluginInstance } from '../../src/plugin/kong.ts';
import { createShadowCounts, type ShadowCounts } from '../../src/plugin/request-counts.ts';
import type { PluginRuntime } from '../../src/plugin/runtime.ts';
import { compare } from '../../src/plugin/shadow/compare.ts';
import { decodeNote, encodeNote, type Note } from '../../src/plugin/shadow/own-verdict.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('comparing with key-auth');

const ALICE: Consumer = { id: 'a', username: 'alice' };
const GOOD: Verdict = {
  ok: true,
  credential: { id: 'c1', consumer: { id: 'a' } },
  cached: true,
  readAt: 0,
  seen: 0,
};
const KEY = 'the-plain-key-of-alice';

interface Process {
  readonly beside: PluginInstance;
  readonly ahead: PluginInstance;
  readonly counts: ShadowCounts;
  readonly lines: { key: string; fields: Record<string, unknown> }[];
}

/** One process with its plugins. `verify` is what its verifier does with a key that it has not seen. */
function start(
  verify: (key: string) => Verdict | Promise<Verdict>,
  config: Record<string, unknown> = {},
  verifier: () => Verifier = () => ({
    recall: () => undefined,
    recallShared: () => Promise.resolve(undefined),
    verify,
  }),
): Process {
  const counts = createShadowCounts();
  const lines: Process['lines'] = [];
  const clock = { now: () => 0 };
  const runtime = {
    logger: silentLogger,
    clock,
    shadow: counts,
    maxBodyBytes: 1024,
    logOnce: (key: string, _level: string, fields: object) => lines.push({ key, fields: { ...fields } }),
    consumers: new ConsumerCache({ maxEntries: 10, ttlMs: 1000 }, clock),
    verifier,
  } as unknown as PluginRuntime;
  const [beside, ahead] = createShadows(runtime).map((definition) => definition.start(config));
  if (beside === undefined || ahead === undefined) throw new Error('there are two');
  return { beside, ahead, counts, lines };
}

/** A request in Kong, and what its plugins leave behind. */
class Request {
  readonly shared = new Map<string, string>();
  readonly calls: string[] = [];
  headers: Record<string, readonly string[]> = { apikey: [KEY] };
  consumer: Consumer | undefined = ALICE;
  credential: Credential | undefined = { id: 'c1', consumer_id: '' };
  status = 200;
  source = 'service';
  /** Calls that never come back. */
  hangs: readonly string[] = [];
  serialized = JSON.stringify({ request: { uri: '/x', method: 'GET', id: 'r1' }, route: { id: 'route-1' } });

  get kong(): Kong {
    const answers: Record<string, () => unknown> = {
      'client.get_consumer': () => this.consumer,
      'client.get_credential': () => this.credential,
      'client.load_consumer': () => ALICE,
      'response.get_status': () => this.status,
      'response.get_source': () => this.source,
      'request.get_headers': () => this.headers,
      'request.get_raw_query': () => '',
      'log.serialize': () => this.serialized,
    };
    const call =
      (name: string) =>
      async (...args: string[]): Promise<unknown> => {
        this.calls.push(name);
        if (this.hangs.includes(name)) return new Promise(() => undefined);
        if (name === 'ctx.shared.set') return this.shared.set(args[0] ?? '', args[1] ?? '');
        if (name === 'ctx.shared.get') return this.shared.get(args[0] ?? '') ?? '';
        const answer = answers[name];
        if (answer === undefined) throw new Error(`${name} must not be called`);
        return answer();
      };
    const group = (path: string): unknown =>
      new Proxy(call(path), {
        get: (_target, name: string) => group(path === '' ? name : `${path}.${name}`),
      });
    return group('') as Kong;
  }
}

const outcomes = (counts: ShadowCounts): Partial<ShadowCounts> =>
  Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));

const WRONG: readonly (readonly [string, HkaError, keyof ShadowCounts])[] = [
  ['the store is down', new HkaError('HKA_STORE_UNAVAILABLE', 'away'), 'undecided_unavailable'],
  ["argon2's queue is full", new HkaError('HKA_VERIFIER_BUSY', 'full'), 'undecided_busy'],
  ['Vault is away', new HkaError('HKA_VAULT_UNAVAILABLE', 'away'), 'undecided_unavailable'],
];

for (const [what, error, outcome] of WRONG) {
  for (const [how, fails] of [
    ['rejects', () => Promise.reject(error)],
    [
      'throws',
      () => {
        throw error;
      },
    ],
  ] as const) {
    test(`${what}, the verifier ${how}: counted by either plugin, and nothing is asked of Kong that decides`, async () => {
      const { beside, ahead, counts } = start(fails);
      const request = new Request();
      await beside.log?.(request.kong, new Ending());
      await ahead.access?.(request.kong, new Ending());
      await ahead.log?.(request.kong, new Ending());
      assert.equal(outcomes(counts), { [outcome]: 2 });
      assert.not(request.calls.some((name) => /exit|authenticate|service|set_headers/.test(name)));
    });
  }
}

test('without a pepper there is no verifier at all', async () => {
  const { ahead, beside, counts } = start(
    () => GOOD,
    {},
    () => {
      throw new HkaError('HKA_VAULT_UNAVAILABLE', 'no pepper yet');
    },
  );
  const request = new Request();
  await beside.log?.(request.kong, new Ending());
  await ahead.access?.(request.kong, new Ending());
  await ahead.log?.(request.kong, new Ending());
  assert.equal(outcomes(counts), { undecided_unavailable: 2 });
});

test('a verification that takes its time holds no request up: the log phase waits for it', async () => {
  let finish: (verdict: Verdict) => void = () => undefined;
  const { ahead, counts } = start(() => new Promise((resolve) => (finish = resolve)));
  const request = new Request();
  await ahead.access?.(request.kong, new Ending());
  const logged = ahead.log?.(request.kong, new Ending());
  finish(GOOD);
  await logged;
  assert.equal(outcomes(counts), { same_consumer: 1 });
});

test('one that is not done by the end of the log event is late', async () => {
  const { ahead, beside, counts } = start(() => new Promise(() => undefined));
  const request = new Request();
  await ahead.access?.(request.kong, new Ending());
  for (const plugin of [ahead, beside]) {
    const ending = new Ending();
    if (plugin === beside) request.shared.clear();
    const logged = plugin.log?.(request.kong, ending);
    ending.end(new HkaError('HKA_EVENT_DEADLINE', 'over'));
    await logged;
  }
  assert.equal(outcomes(counts), { undecided_late: 2 });
});

test('the log phase reaches another process than the access phase: known verdicts travel, open ones are late', async () => {
  const known = start(
    () => GOOD,
    {},
    () => ({
      recall: () => GOOD,
      recallShared: () => Promise.resolve(GOOD),
      verify: () => GOOD,
    }),
  );
  const other = start(() => GOOD);
  const request = new Request();
  await known.ahead.access?.(request.kong, new Ending());
  await other.ahead.log?.(request.kong, new Ending());
  assert.equal(outcomes(other.counts), { same_consumer: 1 });

  const open = start(() => Promise.resolve(GOOD));
  const second = new Request();
  await open.ahead.access?.(second.kong, new Ending());
  await other.ahead.log?.(second.kong, new Ending());
  assert.equal(outcomes(other.counts), { same_consumer: 1, undecided_late: 1 });
});

test('few keys are under verification at once, so that other routes get their turn', async () => {
  let running = 0;
  const { ahead, counts } = start(() => {
    running += 1;
    return new Promise(() => undefined);
  });
  const requests = Array.from({ length: 40 }, (_, at) =>
    Object.assign(new Request(), { headers: { apikey: [`${KEY}-${at}`] } }),
  );
  for (const request of requests) await ahead.access?.(request.kong, new Ending());
  assert.is(running, 16);
  for (const request of requests.slice(16)) await ahead.log?.(request.kong, new Ending());
  assert.equal(outcomes(counts), { undecided_busy: 24 });
});

test('a body that does not come, and headers that Kong does not give: the request goes on when the time is up', async () => {
  for (const hangs of ['request.get_raw_body', 'request.get_headers']) {
    const { ahead, counts } = start(() => GOOD, { key_in_body: true });
    const request = new Request();
    request.headers = { 'content-type': ['application/json'] };
    request.hangs = [hangs];
    const ending = new Ending();
    const access = ahead.access?.(request.kong, ending);
    setImmediate(() => ending.end(new HkaError('HKA_EVENT_DEADLINE', 'over')));
    await access;
    await ahead.log?.(request.kong, new Ending());
    assert.equal(outcomes(counts), { undecided_late: 1 }, hangs);
  }
});

test('a body that is larger than may be looked into is not asked for', async () => {
  const { ahead } = start(() => GOOD, { key_in_body: true });
  const request = new Request();
  request.headers = { 'content-type': ['application/json'], 'content-length': ['1025'] };
  await ahead.access?.(request.kong, new Ending());
  assert.not(request.calls.includes('request.get_raw_body'));
  assert.is(request.shared.get('hashed-key-auth-shadow-access'), '["no key"]');
});

test('no key and nothing made of one is in the note, in lines, in what is asked of Kong', async () => {
  for (const verdict of [GOOD, { ok: false, reason: 'unknown', seen: 0 } as const]) {
    for (const work of [() => verdict, () => Promise.resolve(verdict)]) {
      const { ahead, lines } = start(work);
      const request = new Request();
      request.consumer = { id: 'b', username: 'bob' };
      await ahead.access?.(request.kong, new Ending());
      const notes = [...request.shared.values()];
      await ahead.log?.(request.kong, new Ending());
      assert.is(notes.length, 1);
      assert.match(notes[0] ?? '', /^\["(?:accepted","c1","a",null|refused"|pending","[\w-]{12}\.1")\]?/);
      assert.not.match(JSON.stringify([notes, lines, request.calls]), KEY);
      assert.is(lines.length, 1);
    }
  }
});

test('lines about disagreements are bounded; the counts are not', async () => {
  const { beside, counts, lines } = start(() => ({ ok: false, reason: 'unknown', seen: 0 }));
  for (let at = 0; at < 150; at += 1) {
    const request = new Request();
    request.credential = { id: `c${at}`, consumer_id: '' };
    await beside.log?.(request.kong, new Ending());
  }
  assert.is(counts.only_key_auth, 150);
  assert.is(lines.filter(({ key }) => key.startsWith('shadow only_key_auth')).length, 100);
});

test('what Kong says of a request is asked for only where it is needed', async () => {
  const asked = async (change: (request: Request) => void, config: Record<string, unknown> = {}) => {
    const { beside, counts, lines } = start(() => GOOD, config);
    const request = new Request();
    change(request);
    await beside.log?.(request.kong, new Ending());
    assert.not.match(JSON.stringify(lines), KEY.slice(0, 8));
    return [request.calls.includes('log.serialize'), Object.keys(outcomes(counts))[0]];
  };
  assert.equal(await asked(() => undefined), [false, 'same_consumer']);
  assert.equal(
    await asked((request) => {
      request.headers = {};
      request.serialized = JSON.stringify({ request: { uri: `/x?a=%20&apikey=${KEY}` } });
    }),
    [true, 'same_consumer'],
  );
  assert.equal(
    await asked((request) => (request.serialized = JSON.stringify({ request: { method: 'OPTIONS' } })), {
      run_on_preflight: false,
    }),
    [true, 'not_compared'],
  );
  // An answer that is no JSON.
  assert.equal(
    await asked((request) => {
      request.headers = {};
      request.serialized = KEY;
    }),
    [true, 'undecided_unavailable'],
  );
});

test('a note is what was written, and nothing else', () => {
  const notes: Note[] = [
    { kind: 'accepted', credentialId: 'c', consumer: { id: 'a' } },
    { kind: 'accepted', credentialId: 'c', consumer: { username: 'u' } },
    { kind: 'refused' },
    { kind: 'no key' },
    { kind: 'passed' },
    { kind: 'undecided', reason: 'busy' },
    { kind: 'pending', token: 't.1' },
  ];
  for (const note of notes) assert.equal(decodeNote(encodeNote(note)), note);
  for (const text of [
    '',
    'x',
    '{}',
    '[]',
    '["accepted"]',
    '["accepted","c",1,null]',
    '["undecided","x"]',
    '["pending",1]',
  ])
    assert.is(decodeNote(text), undefined, text);
});

test('what key-auth has decided is read off what it left behind', () => {
  const accepted = { kind: 'accepted', credentialId: 'c1', consumer: { id: 'a' } } as const;
  const refused = { kind: 'refused' } as const;
  const with401 = { consumer: undefined, credential: undefined, status: 401, source: 'exit' };
  const alone = { otherAuthenticators: false, ranAhead: false };
  const among = { otherAuthenticators: true, ranAhead: false };
  const credential = { id: 'c1', consumer_id: '' };
  const cases: [Parameters<typeof compare>, string][] = [
    [[accepted, with401, alone], 'only_hashed'],
    [[accepted, with401, among], 'not_compared'],
    [[accepted, with401, { ...among, ranAhead: true }], 'only_hashed'],
    // Kong's own 401, an upstream's 401, a plugin's 403, a fault.
    [[refused, { ...with401, source: 'service' }, alone], 'not_compared'],
    [[refused, { ...with401, status: 403 }, alone], 'not_compared'],
    [[refused, { ...with401, status: 500, source: 'error' }, alone], 'not_compared'],
    // Refused by acl, after key-auth has accepted.
    [[accepted, { consumer: ALICE, credential, status: 403, source: 'exit' }, alone], 'same_consumer'],
    [[refused, { consumer: ALICE, credential, status: 200, source: 'service' }, alone], 'only_key_auth'],
    [[refused, { consumer: ALICE, credential, status: 200, source: 'service' }, among], 'not_compared'],
    // A consumer without a credential is the anonymous one, by id or by name, or nobody's business.
    [
      [refused, { ...with401, consumer: ALICE, status: 200 }, { ...alone, anonymous: 'alice' }],
      'both_refused',
    ],
    [[refused, { ...with401, consumer: ALICE, status: 200 }, { ...alone, anonymous: 'a' }], 'both_refused'],
    [[accepted, { ...with401, consumer: ALICE, status: 200 }, { ...among, anonymous: 'a' }], 'only_hashed'],
    [[refused, { ...with401, consumer: ALICE, status: 200 }, alone], 'not_compared'],
    // The same credential with another consumer is a disagreement, whoever else authenticates.
    [
      [{ ...accepted, consumer: { id: 'x' } }, { ...with401, consumer: ALICE, credential }, among],
      'other_consumer',
    ],
    [
      [
        { kind: 'accepted', credentialId: 'z', consumer: { username: 'alice' } },
        { ...with401, consumer: ALICE, credential },
        alone,
      ],
      'same_consumer',
    ],
  ];
  for (const [args, outcome] of cases) assert.is(compare(...args), outcome, JSON.stringify(args));
});

test.run();
