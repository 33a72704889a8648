/**
 * Ways of asking Kong for what decides, each with the same answers where it says so, on a real Kong: which of them the
 * plugin uses (src/plugin/hashed-key-auth.ts) comes from here. Each candidate is a plugin of its own on a socket of its own.
 */
import { fork } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '../src/lib/logger.ts';
import type { Kong } from '../src/plugin/kong.ts';
import { SocketServer } from '../src/server/socket-server.ts';
import { realKongBinary, startGateway } from '../test/helpers/kong/gateway.ts';
import { goPeer, goPeerAbsence, stockPeer, type Peer } from '../test/helpers/peers/peers.ts';
import { median, printCells, startFixedUpstream } from './gateway.ts';
import { closedLoop } from './load.ts';

const ID = '5ad0a6ae-3a46-4a0c-8b24-7c2b8e8d2f01';
const CONSUMER = { id: ID, username: 'alice' };
const HEADERS = Object.freeze({
  'X-Consumer-ID': ID,
  'X-Consumer-Username': 'alice',
  'X-Credential-Identifier': ID,
  apikey: [],
});

async function admit(kong: Kong): Promise<void> {
  await kong.client.authenticate(CONSUMER, { id: ID, consumer_id: ID });
  await kong.service.request.set_headers(HEADERS);
}

/** A call whose reply is waited for, so that what follows leaves in another write. */
const pause = (kong: Kong): Promise<string> => kong.nginx.get_var('scheme');

const CANDIDATES: readonly (readonly [string, (kong: Kong) => Promise<unknown>])[] = [
  ['an event without calls', async () => undefined],
  ['named header; admit', async (kong) => (await kong.request.get_header('apikey'), admit(kong))],
  ['nginx variable; admit', async (kong) => (await kong.nginx.get_var('http_apikey'), admit(kong))],
  ['header table; admit', async (kong) => (await kong.request.get_headers(1000), admit(kong))],
  [
    'header table + query in one write; admit (ours)',
    async (kong) => {
      await Promise.all([kong.request.get_headers(1000), kong.request.get_raw_query()]);
      await admit(kong);
    },
  ],
  [
    'header table, then query; admit',
    async (kong) => {
      await kong.request.get_headers(1000);
      await kong.request.get_raw_query();
      await admit(kong);
    },
  ],
  [
    'header table + query + one more call; admit',
    async (kong) => {
      await Promise.all([kong.request.get_headers(1000), kong.request.get_raw_query(), pause(kong)]);
      await admit(kong);
    },
  ],
];

async function serve(folder: string): Promise<void> {
  for (const [index, [, run]] of CANDIDATES.entries()) {
    const server = new SocketServer(
      {
        socket: join(folder, `c${index}.sock`),
        socketMode: 0o600,
        eventDeadlineMs: 5000,
        drainMs: 0,
        maxConnections: 8192,
        maxFrameBytes: 1 << 24,
      },
      [
        {
          name: `c${index}`,
          version: '1.0.0',
          priority: 1000,
          phases: ['access'],
          schema: '{}',
          start: () => ({ access: async (kong) => void (await run(kong)) }),
        },
      ],
      silentLogger,
    );
    await server.listen();
  }
  process.send?.('listening');
}

export interface ExchangeRow {
  readonly name: string;
  /** Share of "no plugin". */
  readonly ratio: number;
  /** Share of go-pdk with one call; absent without Go. */
  readonly goRatio?: number;
  readonly p50Ms: number;
}

export async function benchExchange(
  options: { rounds: number; seconds: number },
  write: (text: string) => void,
): Promise<ExchangeRow[]> {
  if (realKongBinary() === undefined) {
    write('\nWays of asking Kong\n  skipped: needs a real Kong (KONG_BIN)\n');
    return [];
  }
  const folder = mkdtempSync(join(tmpdir(), 'hka-bench-'));
  const child = fork(import.meta.filename, [folder]);
  await new Promise((done) => child.once('message', done));
  const upstream = await startFixedUpstream();
  const definitions = CANDIDATES.map((_, index) => {
    const dump = {
      Protocol: 'ProtoBuf:1',
      Plugins: [
        {
          Name: `c${index}`,
          Priority: 1000,
          Version: '1.0.0',
          Phases: ['access'],
          Schema: {
            name: `c${index}`,
            fields: [{ config: { type: 'record', fields: [{ x: { type: 'string' } }] } }],
          },
        },
      ],
    };
    const file = join(folder, `c${index}.json`);
    writeFileSync(file, JSON.stringify(dump));
    return { name: `c${index}`, socket: join(folder, `c${index}.sock`), queryCommand: `cat ${file}` };
  });
  // What others need for a single call, which decides nothing: the bound for what more calls can reach.
  const stock = stockPeer('peer-js');
  const absence = goPeerAbsence();
  const go = absence === undefined ? goPeer() : undefined;
  if (absence !== undefined) write(`\nskipped: go-pdk: ${absence}\n`);
  const peers: readonly (readonly [string, Peer])[] = [
    ...(go === undefined ? [] : [['go-pdk, one call', go] as const]),
    ['stock JS server, one call', stock],
  ];
  for (const [, peer] of peers) await peer.start();
  const subjects = [
    ...peers.map(([name, { pluginName, definition }]) => ({
      name,
      plugin: { name: pluginName, config: { bench: 1 } },
      definition,
    })),
    ...CANDIDATES.map(([name], index) => ({
      name,
      plugin: { name: `c${index}`, config: {} },
      definition: definitions[index],
    })),
  ];
  const gateway = await startGateway({
    workers: 1,
    extraKongConf: { proxy_access_log: 'off', log_level: 'error', upstream_keepalive_pool_size: '512' },
    pluginServers: subjects.flatMap(({ definition }) => definition ?? []),
    config: {
      _format_version: '3.0',
      services: [
        {
          name: 'bench',
          url: upstream.url,
          routes: [
            { name: 'none', paths: ['/none'] },
            ...subjects.map(({ plugin }, index) => ({
              name: `s${index}`,
              paths: [`/s${index}/`],
              plugins: [plugin],
            })),
          ],
        },
      ],
    },
  });
  const measured = subjects.map(() => ({
    ratios: [] as number[],
    goRatios: [] as number[],
    p50s: [] as number[],
  }));
  for (let round = 0; round < options.rounds; round += 1) {
    const load = { headers: { apikey: 'k'.repeat(65) }, seconds: options.seconds };
    const base = await closedLoop({ ...load, url: `${gateway.url}/none`, connections: 32 });
    let first: number | undefined;
    for (const [index, figures] of measured.entries()) {
      const url = `${gateway.url}/s${index}/`;
      const many = await closedLoop({ ...load, url, connections: 32 });
      const one = await closedLoop({ ...load, url, connections: 1 });
      first ??= many.perSecond;
      figures.ratios.push(many.perSecond / base.perSecond);
      figures.goRatios.push(many.perSecond / first);
      figures.p50s.push(one.p50Ms);
    }
  }
  await gateway.stop();
  for (const [, peer] of peers) await peer.dispose();
  child.kill();
  upstream.close();
  rmSync(folder, { recursive: true, force: true });
  const rows = subjects.map(({ name }, index) => ({
    name,
    ratio: median(measured[index]?.ratios ?? []),
    ...(go === undefined ? {} : { goRatio: median(measured[index]?.goRatios ?? []) }),
    p50Ms: median(measured[index]?.p50s ?? []),
  }));
  write('\nWays of asking Kong; admit stands for authenticate + set_headers\n');
  printCells(
    [
      ['', '32 connections, share of "no plugin"', 'of go-pdk', '1 connection, p50'],
      ...rows.map(({ name, ratio, goRatio, p50Ms }) => [
        name,
        ratio.toFixed(3),
        goRatio?.toFixed(3) ?? '',
        `${p50Ms.toFixed(3)} ms`,
      ]),
    ],
    write,
  );
  return rows;
}

if (process.send !== undefined && process.argv[1] === import.meta.filename) void serve(process.argv[2] ?? '');
