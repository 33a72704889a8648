/**
 * Requests through a gateway: with no plugin, with Kong's own key-auth, with the stock plugin servers, and with ours; on
 * the real Kong that KONG_BIN names, else on the stand-in (whose figures say little about Kong). All in one run, in turns.
 */
import { createServer, type AddressInfo } from 'node:net';
import { install, type Installation } from '../test/helpers/installation.ts';
import {
  realKongBinary,
  startGateway,
  type DeclarativeConfig,
  type Gateway,
} from '../test/helpers/kong/gateway.ts';
import { goPeer, goPeerAbsence, stockPeer, type Peer } from '../test/helpers/peers/peers.ts';
import { prepareVault, SECRET_REFERENCE } from '../test/helpers/vault-fixture.ts';
import { startVault, vaultAbsence } from '../test/helpers/vault-server.ts';
import { closedLoop, GENERATOR, type Figures } from './load.ts';
import { cpuSeconds, memoryMib, processTree } from './processes.ts';

export interface Subject {
  readonly name: string;
  readonly path: string;
  /** Processes whose CPU time and memory are told. */
  readonly pid?: number | undefined;
}

export interface Row {
  readonly name: string;
  readonly connections: number;
  readonly perSecond: number;
  /** Share of "no plugin". */
  readonly ratio: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** CPU of the plugin server for one request, in µs. */
  readonly cpuUs?: number;
  readonly memoryMib?: number;
}

export interface BenchGateway {
  readonly gateway: Gateway;
  readonly installation: Installation;
  readonly key: string;
  readonly subjects: readonly Subject[];
  readonly skipped: readonly string[];
  close(): Promise<void>;
}

/** An upstream that answers every request with the same bytes. */
export function startFixedUpstream(): Promise<{ url: string; close(): void }> {
  const answer = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok');
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      // GET requests without bodies end with an empty line.
      for (let at = chunk.indexOf('\r\n\r\n'); at !== -1; at = chunk.indexOf('\r\n\r\n', at + 4))
        socket.write(answer);
    });
  });
  return new Promise((done) => {
    server.listen(0, '127.0.0.1', () =>
      done({
        url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
        close: () => server.close(),
      }),
    );
  });
}

export async function startBenchGateway(): Promise<BenchGateway> {
  const skipped: string[] = [];
  const installation = await install();
  // BENCH_WORKERS=1 measures without worker processes.
  const workers = process.env['BENCH_WORKERS'];
  if (workers !== undefined) installation.setServer(`workers: ${workers}`);
  const { key } = await installation.issue('alice');
  const upstream = await startFixedUpstream();
  const noVault = vaultAbsence();
  const vault = noVault === undefined ? await startVault() : undefined;
  if (vault === undefined) skipped.push(`hashed-key-auth with a secret: ${noVault}`);
  else {
    const prepared = await prepareVault(vault, vault.address, installation.folder, { token: 'bench-token' });
    installation.configure(prepared.configuration);
  }
  const served = await installation.serve();
  const stock = stockPeer('peer-js');
  await stock.start();
  const absence = goPeerAbsence();
  const go: Peer | undefined = absence === undefined ? goPeer() : undefined;
  if (go === undefined) skipped.push(`go-pdk: ${absence}`);
  await go?.start();

  const real = realKongBinary() !== undefined;
  if (!real) skipped.push('native key-auth: needs a real Kong (KONG_BIN)');
  const plugin = (name: string, config: Record<string, unknown>) => ({ name, config });
  const subjects: Subject[] = [];
  const routes: NonNullable<NonNullable<DeclarativeConfig['services']>[number]['routes']> = [];
  const add = (
    name: string,
    plugins: { name: string; config: Record<string, unknown> }[],
    pid?: number,
  ): void => {
    const path = `/s${subjects.length}`;
    subjects.push({ name, path, pid });
    routes.push({ name: `s${subjects.length}`, paths: [path], plugins });
  };
  add('no plugin', []);
  if (real) add('native key-auth', [plugin('key-auth', { hide_credentials: true })]);
  if (real) {
    const hidden = plugin('key-auth', { hide_credentials: true });
    add(
      'native key-auth, compared after',
      [plugin('key-auth', {}), plugin('hashed-key-auth-shadow', {})],
      served.child.pid,
    );
    add(
      'native key-auth, compared ahead',
      [hidden, plugin('hashed-key-auth-shadow-access', {})],
      served.child.pid,
    );
  }
  add('stock JS server, 1 call', [plugin('peer-js', { bench: 1 })], stock.pid);
  add('stock JS server, 3 calls', [plugin('peer-js', { bench: 3 })], stock.pid);
  if (go !== undefined) add('go-pdk, 1 call', [plugin('peer-go', { bench: 1 })], go.pid);
  add('hashed-key-auth, hot', [plugin('hashed-key-auth', {})], served.child.pid);
  // Three calls in place of four: nothing has to be taken out of the query.
  add(
    'the same, keys not hidden',
    [plugin('hashed-key-auth', { hide_credentials: false })],
    served.child.pid,
  );
  if (vault !== undefined) {
    const secret = { header: 'X-Backend', reference: SECRET_REFERENCE };
    const withSecret = (name: string, more: object = {}) =>
      plugin(name, { upstream_secrets: [{ ...secret, ...more }] });
    add('hashed-key-auth, with a secret', [withSecret('hashed-key-auth')], served.child.pid);
    add(
      'with a secret, watched',
      [withSecret('hashed-key-auth', { retry_previous_on: [401] }), plugin('vault-upstream-watch', {})],
      served.child.pid,
    );
    if (real) {
      add(
        'key-auth and vault-upstream-secrets',
        [plugin('key-auth', {}), withSecret('vault-upstream-secrets')],
        served.child.pid,
      );
    }
  }
  const gateway = await startGateway({
    workers: 1,
    extraKongConf: { proxy_access_log: 'off', log_level: 'error', upstream_keepalive_pool_size: '512' },
    pluginServers: [
      ...installation.pluginServers(
        'vault-upstream-secrets',
        'vault-upstream-watch',
        'hashed-key-auth-shadow',
        'hashed-key-auth-shadow-access',
      ),
      stock.definition,
      ...(go === undefined ? [] : [go.definition]),
    ],
    config: {
      _format_version: '3.0',
      consumers: [{ username: 'alice', ...(real ? { keyauth_credentials: [{ key }] } : {}) }],
      services: [{ name: 'bench', url: upstream.url, routes }],
    },
  });
  return {
    gateway,
    installation,
    key,
    subjects,
    skipped,
    close: async () => {
      await gateway.stop();
      await stock.dispose();
      await go?.dispose();
      await vault?.stop();
      await installation.dispose();
      upstream.close();
    },
  };
}

export async function benchGateway(
  bench: BenchGateway,
  options: { rounds: number; seconds: number; connections: readonly number[]; only?: RegExp | undefined },
  write: (text: string) => void,
): Promise<Row[]> {
  const { gateway, key } = bench;
  const subjects = bench.subjects.filter(
    ({ name }, at) => at === 0 || options.only === undefined || options.only.test(name),
  );
  write(
    `\nThrough ${gateway.kind === 'kong' ? 'Kong (KONG_BIN)' : 'the stand-in Kong'}, load by ${GENERATOR}, `,
  );
  write(`${options.rounds} interleaved rounds of ${options.seconds} s, medians\n`);
  const rows: Row[] = [];
  for (const connections of options.connections) {
    const measured = new Map<string, (Figures & { cpuUs?: number; ratio: number })[]>();
    for (let round = 0; round < options.rounds; round += 1) {
      let base = 0;
      for (const { name, path, pid } of subjects) {
        const pids = pid === undefined ? [] : processTree(pid);
        const before = cpuSeconds(pids);
        const figures = await closedLoop({
          url: `${gateway.url}${path}`,
          headers: { apikey: key },
          connections,
          seconds: options.seconds,
        });
        const total = Object.values(figures.statuses).reduce((sum, count) => sum + count, 0);
        if ((figures.statuses['2xx'] ?? figures.statuses['200']) !== total)
          throw new Error(`${name}: not every answer was 200: ${JSON.stringify(figures.statuses)}`);
        if (base === 0) base = figures.perSecond;
        const list = measured.get(name) ?? [];
        list.push({
          ...figures,
          ratio: figures.perSecond / base,
          ...(pid === undefined ? {} : { cpuUs: ((cpuSeconds(pids) - before) / total) * 1e6 }),
        });
        measured.set(name, list);
      }
    }
    for (const { name, pid } of subjects) {
      const list = measured.get(name) ?? [];
      rows.push({
        name,
        connections,
        perSecond: median(list.map(({ perSecond }) => perSecond)),
        ratio: median(list.map(({ ratio }) => ratio)),
        p50Ms: median(list.map(({ p50Ms }) => p50Ms)),
        p99Ms: median(list.map(({ p99Ms }) => p99Ms)),
        ...(pid === undefined
          ? {}
          : { cpuUs: median(list.map(({ cpuUs }) => cpuUs ?? 0)), memoryMib: memoryMib(processTree(pid)) }),
      });
    }
    printRows(
      rows.filter((row) => row.connections === connections),
      write,
    );
  }
  return rows;
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

function printRows(rows: readonly Row[], write: (text: string) => void): void {
  const table = [
    [
      `${rows[0]?.connections} connections`,
      'requests/s',
      'ratio',
      'p50',
      'p99',
      'server CPU',
      'server memory',
    ],
    ...rows.map(({ name, perSecond, ratio, p50Ms, p99Ms, cpuUs, memoryMib: memory }) => [
      name,
      Math.round(perSecond).toLocaleString('en'),
      ratio.toFixed(3),
      `${p50Ms.toFixed(3)} ms`,
      `${p99Ms.toFixed(2)} ms`,
      cpuUs === undefined ? '' : `${cpuUs.toFixed(0)} µs`,
      memory === undefined ? '' : `${memory.toFixed(0)} MiB`,
    ]),
  ];
  printCells(table, write);
}

export function printCells(table: readonly (readonly string[])[], write: (text: string) => void): void {
  const widths = (table[0] ?? []).map((_, column) =>
    Math.max(...table.map((row) => row[column]?.length ?? 0)),
  );
  write('\n');
  for (const row of table) {
    write(
      `  ${row
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join('   ')
        .trimEnd()}\n`,
    );
  }
}
