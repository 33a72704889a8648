/**
 * Calls that a token's life costs, in an hour and in a day of time moved by hand, against a stand-in for Vault that keeps
 * time by the same clock: what it refuses, a real one would have refused at that moment.
 */
import * as assert from 'uvu/assert';
import type { HkaError } from '../../src/lib/errors.ts';
import { grantOf, type LoginMethod } from '../../src/vault/auth/method.ts';
import { errorOfReply, type VaultBody, type VaultCalls } from '../../src/vault/client.ts';
import { VaultSession } from '../../src/vault/session.ts';
import { systemTimers } from '../../src/vault/timers.ts';
import { suite } from '../helpers/suite.ts';
import { failure, keepLog, ManualTime } from './support.ts';

const test = suite("the life of Vault's token");

const HOUR_S = 3600;
const DAY_S = 24 * HOUR_S;
/** How a token that has ended is refused, whatever it asks for. */
const REFUSALS = {
  'Vault 1.21': '2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n',
  // And Vault's, where the token is bound to another address, or its entity is disabled.
  OpenBao: 'permission denied',
} as const;
/** How a token that lives is refused what its policy forbids; both say it so. */
const FORBIDDEN = '1 error occurred:\n\t* permission denied\n\n';

function refusal(text: string): HkaError {
  return errorOfReply({ status: 403, body: { errors: [text] }, retryAfterMs: undefined }, 'http://vault');
}

interface TokenRules {
  /** Seconds; 0 for a token that never expires. */
  readonly ttl: number;
  /** Seconds from the log-in that no renewal goes beyond. */
  readonly maxTtl?: number;
  readonly renewable?: boolean;
}

/** Vault's rules for the life of tokens, on time moved by hand. */
class TokenVault implements VaultCalls {
  readonly place = 'a stand-in';
  readonly calls = { login: 0, renew: 0, revoke: 0, refused: 0 };
  rules: TokenRules;
  /** What it says to a token that looks itself up. */
  refuses: string = REFUSALS['Vault 1.21'];
  /** Whether it lets nobody log in. */
  isClosed = false;
  readonly #time: ManualTime;
  readonly #tokens = new Map<string, { bornAt: number; endsAt: number }>();
  #made = 0;

  constructor(time: ManualTime, rules: TokenRules) {
    this.#time = time;
    this.rules = rules;
  }

  isAlive(token: string): boolean {
    const found = this.#tokens.get(token);
    return found !== undefined && this.#time.now() < found.endsAt;
  }

  killAll(): void {
    this.#tokens.clear();
  }

  read(): Promise<VaultBody> {
    return Promise.reject(refusal(this.refuses));
  }

  write(
    path: string,
    _data: object,
    { token }: { token: { reveal(): string } | undefined },
  ): Promise<VaultBody> {
    return new Promise((resolve) => resolve(this.#write(path, token?.reveal())));
  }

  #write(path: string, token: string | undefined): VaultBody {
    if (path === 'auth/stand-in/login') {
      this.calls.login += 1;
      if (this.isClosed) throw refusal(FORBIDDEN);
      this.#made += 1;
      const id = `token-${this.#made}`;
      const now = this.#time.now();
      this.#tokens.set(id, { bornAt: now, endsAt: this.#endOf(now) });
      return this.#answer(id);
    }
    if (path === 'auth/token/revoke-self') {
      this.calls.revoke += 1;
      this.#tokens.delete(token ?? '');
      return {};
    }
    this.calls.renew += 1;
    const found = this.#tokens.get(token ?? '');
    if (token === undefined || found === undefined || !this.isAlive(token)) {
      this.calls.refused += 1;
      throw refusal(REFUSALS['Vault 1.21']);
    }
    found.endsAt = this.#endOf(found.bornAt);
    return this.#answer(token);
  }

  #endOf(bornAt: number): number {
    const { ttl, maxTtl = Infinity } = this.rules;
    return ttl === 0 ? Infinity : Math.min(this.#time.now() + ttl * 1000, bornAt + maxTtl * 1000);
  }

  #answer(token: string): VaultBody {
    const endsAt = this.#tokens.get(token)?.endsAt ?? 0;
    const left = endsAt === Infinity ? 0 : Math.floor((endsAt - this.#time.now()) / 1000);
    return { auth: { client_token: token, lease_duration: left, renewable: this.rules.renewable ?? true } };
  }
}

class StandInLogin implements LoginMethod {
  readonly name = 'stand-in';
  readonly ownsTokens = true;
  readonly boundToCredentials = false;

  check(): void {
    // There is nothing that could be wrong.
  }

  changed(): boolean {
    return false;
  }

  async login(client: VaultCalls): Promise<ReturnType<typeof grantOf>> {
    return grantOf(await client.write('auth/stand-in/login', {}, { token: undefined }));
  }
}

interface Life {
  readonly time: ManualTime;
  readonly vault: TokenVault;
  readonly session: VaultSession;
  /** Lives through it, and returns the longest time that was planned ahead. */
  readonly pass: (seconds: number) => Promise<number>;
}

/** Everything that is under way here needs no more than promises. */
const settled = (): Promise<void> => new Promise((done) => setImmediate(done));

async function begin(rules: TokenRules): Promise<Life> {
  const time = new ManualTime();
  const vault = new TokenVault(time, rules);
  const session = new VaultSession({
    client: vault,
    method: new StandInLogin(),
    logger: keepLog(),
    clock: time,
    timers: time,
    random: () => 0.5,
  });
  session.start();
  await session.ready();
  return {
    time,
    vault,
    session,
    pass: async (seconds) => {
      let longest = 0;
      await time.pass(seconds * 1000, async () => {
        await settled();
        if (time.nextIn !== Infinity) longest = Math.max(longest, time.nextIn);
      });
      return longest;
    },
  };
}

const lives: readonly [what: string, rules: TokenRules, hour: [number, number], day: [number, number]][] = [
  // Of each: log-ins and renewals. 65 % of what remains passes between two.
  ['of 768 h', { ttl: 768 * HOUR_S }, [1, 0], [1, 0]],
  ['of 768 h that ends there', { ttl: 768 * HOUR_S, maxTtl: 768 * HOUR_S }, [1, 0], [1, 0]],
  ['of an hour', { ttl: HOUR_S }, [1, 1], [1, 36]],
  ['of an hour, with a maximum of ten', { ttl: HOUR_S, maxTtl: 10 * HOUR_S }, [1, 1], [3, 36]],
  ['of a minute', { ttl: 60 }, [1, 92], [1, 2215]],
  // Every five seconds at most, whatever Vault says.
  ['of two seconds', { ttl: 2 }, [721, 0], [17_281, 0]],
  ['of a minute that cannot be renewed', { ttl: 60, renewable: false }, [93, 0], [2216, 0]],
  ['that never ends', { ttl: 0 }, [1, 0], [1, 0]],
  ['that never ends and cannot be renewed', { ttl: 0, renewable: false }, [1, 0], [1, 0]],
];

for (const [what, rules, hour, day] of lives) {
  for (const [span, seconds, [logins, renewals]] of [
    ['an hour', HOUR_S, hour],
    ['a day', DAY_S, day],
  ] as const) {
    test(`${span} with a token ${what}: ${logins} log-ins, ${renewals} renewals`, async () => {
      const { vault, session, pass } = await begin(rules);
      await pass(seconds);
      assert.equal([vault.calls.login, vault.calls.renew], [logins, renewals]);
      assert.is(vault.calls.refused, 0);
      await session.close();
    });
  }
}

test('a caller always gets a token that is alive, whenever in a day it asks', async () => {
  for (const rules of [
    { ttl: HOUR_S, maxTtl: 5 * HOUR_S },
    { ttl: 600, renewable: false },
    { ttl: 60 },
    { ttl: 2 },
  ]) {
    const { vault, session, time } = await begin(rules);
    for (let asked = 0; asked < 500; asked += 1) {
      await time.pass(173_000, settled);
      const alive = await session.run((token) => Promise.resolve(vault.isAlive(token.reveal())));
      assert.ok(alive, `after ${asked} × 173 s with ${JSON.stringify(rules)}`);
    }
    await session.close();
  }
});

test('less than a minute before its end a token is not used, of a short one less than a tenth', async () => {
  for (const [ttl, unused] of [
    [HOUR_S, 60],
    [1200, 60],
    [100, 10],
    [2, 0.2],
  ] as const) {
    const { vault, session, time } = await begin({ ttl });
    const used = (): Promise<string> => session.run((token) => Promise.resolve(token.reveal()));
    time.advance((ttl - unused) * 1000 - 1);
    assert.is(await used(), 'token-1');
    time.advance(1);
    assert.is(await used(), 'token-2');
    assert.is(vault.calls.login, 2);
    await session.close();
  }
});

for (const [server, text] of Object.entries(REFUSALS)) {
  test(`a token that its owner has revoked is replaced once, for all that use it (${server})`, async () => {
    const { vault, session } = await begin({ ttl: HOUR_S });
    vault.refuses = text;
    const use = (): Promise<string> =>
      session.run((token) => {
        if (vault.isAlive(token.reveal())) return Promise.resolve(token.reveal());
        return Promise.reject(refusal(text));
      });
    for (const next of ['token-1', 'token-2', 'token-3']) {
      assert.equal([...new Set(await Promise.all(Array.from({ length: 30 }, use)))], [next]);
      vault.killAll();
    }
    assert.is(vault.calls.login, 3);
    await session.close();
  });

  test(`one that gives only dead tokens is asked twice for one call, not for ever (${server})`, async () => {
    const { vault, session } = await begin({ ttl: HOUR_S });
    await session.run(() => Promise.resolve());
    vault.refuses = text;
    assert.is(
      (await failure(() => session.run(() => Promise.reject(refusal(text))))).code,
      'HKA_VAULT_FORBIDDEN',
    );
    assert.is(vault.calls.login, 2);
    await session.close();
  });
}

test('a path that is forbidden before does not keep a dead token in use (OpenBao)', async () => {
  const { vault, session, time } = await begin({ ttl: 768 * HOUR_S });
  vault.refuses = FORBIDDEN;
  for (let asked = 0; asked < 5; asked += 1) {
    time.advance(120_000);
    await failure(() => session.run(() => Promise.reject(refusal(FORBIDDEN))));
  }
  const before = vault.calls.login;
  const use = (): Promise<string> =>
    session.run((token) => {
      if (vault.isAlive(token.reveal())) return Promise.resolve(token.reveal());
      return Promise.reject(refusal(REFUSALS.OpenBao));
    });
  await use();
  vault.killAll();
  vault.refuses = REFUSALS.OpenBao;
  await use();
  assert.is(vault.calls.login, before + 1);
  await session.close();
});

test('tokens that are refused everything from the start, at another address say, are not fetched again and again', async () => {
  const { vault, session, time } = await begin({ ttl: HOUR_S });
  vault.refuses = REFUSALS.OpenBao;
  for (let asked = 0; asked < 100; asked += 1) {
    time.advance(1000);
    await failure(() => session.run(() => Promise.reject(refusal(REFUSALS.OpenBao))));
  }
  assert.is(vault.calls.login, 2);
  await session.close();
});

test('a token that is refused on one of two ways to Vault is not replaced each time', async () => {
  const { vault, session, time } = await begin({ ttl: HOUR_S });
  vault.refuses = REFUSALS.OpenBao;
  for (let asked = 0; asked < 200; asked += 1) {
    time.advance(10);
    const refused = asked % 2 === 1;
    await session
      .run(() => (refused ? Promise.reject(refusal(REFUSALS.OpenBao)) : Promise.resolve()))
      .catch(() => undefined);
  }
  // Once to begin with.
  assert.is(vault.calls.login, 4);
  time.advance(61_000);
  for (let asked = 0; asked < 10; asked += 1)
    await session.run(() => Promise.reject(refusal(REFUSALS.OpenBao))).catch(() => undefined);
  assert.is(vault.calls.login, 5);
  await session.close();
});

test('and is not given up where no other can be had', async () => {
  const { vault, session, time } = await begin({ ttl: HOUR_S });
  await session.run(() => Promise.resolve());
  vault.refuses = REFUSALS.OpenBao;
  vault.isClosed = true;
  time.advance(1000);
  await failure(() => session.run(() => Promise.reject(refusal(REFUSALS.OpenBao))));
  assert.is(await session.run((token) => Promise.resolve(token.reveal())), 'token-1');
  await session.close();
});

test('at the end the token is revoked, and nothing is planned any more', async () => {
  const { vault, session, time } = await begin({ ttl: HOUR_S });
  await session.close();
  assert.is(vault.calls.revoke, 1);
  assert.is(time.pending, 0);
});

test('no timer is longer than Node takes, whatever the life of a token', async () => {
  const delays: number[] = [];
  const original = globalThis.setTimeout;
  const recorded = ((run: () => void, delay: number): NodeJS.Timeout => {
    delays.push(delay);
    return original(run, delay);
  }) as typeof setTimeout;
  for (const ttl of [2, 60, HOUR_S, 768 * HOUR_S, 10 * 365 * DAY_S, 1e15]) {
    const { time, session } = await begin({ ttl });
    const ahead = time.nextIn;
    await session.close();
    globalThis.setTimeout = recorded;
    try {
      systemTimers.schedule(() => undefined, ahead)();
    } finally {
      globalThis.setTimeout = original;
    }
  }
  assert.is(delays.length, 6);
  for (const delay of delays) assert.ok(delay > 0 && delay <= 2 ** 31 - 1, String(delay));
});

test.run();
