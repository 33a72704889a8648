/** The stack of docker-compose.yml, laid under further compose files, with programs of this machine for its images. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as assert from 'uvu/assert';
import { eventually } from '../helpers/eventually.ts';
import { ROOT } from '../helpers/installation.ts';
import { realKongBinary } from '../helpers/kong/gateway.ts';
import { findPostgres, postgresAbsence } from '../helpers/postgres-server.ts';
import { findVault, isOpenBao, vaultAbsence } from '../helpers/vault-server.ts';
import { readComposeFile } from './compose-file.ts';
import { ComposeRun, namespacesAbsence, type ImageStandIn, type Running } from './compose-run.ts';

const OPENBAO =
  'VAULT_BIN names an OpenBao, which takes no audit devices over its API as vault-setup enables them';

/** Why the stack can't be run here; undefined when it can. */
export function stackAbsence(): string | undefined {
  return namespacesAbsence() ?? postgresAbsence() ?? vaultAbsence() ?? (isOpenBao() ? OPENBAO : undefined);
}

const READY_MS = 60_000;
const HEALTH_CHECK_MS = 500;

/** What PostgreSQL's image does: makes the database once, with a server that only listens on a Unix socket. */
const POSTGRES_ENTRYPOINT = `#!/bin/sh
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  chmod 700 "$PGDATA"
  initdb $POSTGRES_INITDB_ARGS --no-sync --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE"
  shift
  options="-c listen_addresses= -c unix_socket_directories=/var/run/postgresql"
  pg_ctl -w -o "$options $*" start
  for file in /docker-entrypoint-initdb.d/*.sql; do
    PGPASSWORD="$(cat "$POSTGRES_PASSWORD_FILE")" psql -h /var/run/postgresql -U postgres --no-psqlrc -v ON_ERROR_STOP=1 -f "$file"
  done
  pg_ctl -w -m fast stop
  set -- postgres "$@"
fi
exec "$@" -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql
`;

const HKA = '#!/bin/sh\nexec node /app/bin/hashed-key-auth.js "$@"\n';
const GATEWAY = '/app/dist/test/deploy/gateway-process.js';

function images(): Readonly<Record<string, ImageStandIn>> {
  const ours = {
    entrypoint: ['hashed-key-auth'],
    path: ['/opt/bin'],
    contents: { '/app': ROOT },
    files: { '/opt/bin/hashed-key-auth': HKA },
    volumeOwner: '65532:65000',
  };
  const kong = realKongBinary();
  const prefix = kong === undefined ? '' : dirname(dirname(kong));
  return {
    postgres: {
      entrypoint: ['/entrypoint.sh'],
      path: [findPostgres() ?? ''],
      environment: { PGDATA: '/var/lib/postgresql/data' },
      files: { '/entrypoint.sh': POSTGRES_ENTRYPOINT },
      volumeOwner: '999:999',
    },
    'hashicorp/vault': {
      entrypoint: ['vault'],
      path: ['/opt/bin'],
      contents: { '/opt/bin/vault': findVault() ?? '' },
      volumeOwner: '100:1000',
    },
    'hashed-key-auth': ours,
    kong: {
      ...ours,
      entrypoint: ['node', GATEWAY],
      ...(kong === undefined
        ? {}
        : {
            path: ['/opt/bin', dirname(kong)],
            environment: { KONG_BIN: kong },
            contents: { ...ours.contents, ...(existsSync(prefix) ? { [prefix]: prefix } : {}) },
          }),
    },
  };
}

export interface Answer {
  readonly status: number;
  readonly body: string;
}

export class Stack {
  readonly local: string;
  readonly #work = mkdtempSync(join(tmpdir(), 'hka-secrets-'));
  readonly #run: ComposeRun;
  readonly #services = new Map<string, Running>();

  constructor(...files: readonly string[]) {
    this.local = join(this.#work, 'local');
    this.#run = new ComposeRun(readComposeFile('docker-compose.yml', ...files), images(), this.local);
  }

  /** `make secrets`. */
  secrets(): void {
    execFileSync(join(ROOT, 'deploy/compose/secrets.sh'), [this.local], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
  }

  /** A file of deploy/local. */
  read(path: string): string {
    return readFileSync(join(this.local, path), 'utf8').trim();
  }

  /** All but Kong, in the order of their dependencies. */
  async start(): Promise<void> {
    this.secrets();
    await this.#run.connect();
    this.up('postgres');
    this.up('vault');
    await this.healthy('postgres', /listening on IPv4/);
    await Promise.all([
      this.once('vault-setup'),
      this.once('store-migrate').then(() => this.once('store-grants')),
    ]);
    await this.healthy('vault');
    for (const name of ['plugin-server', 'admin', 'upstream']) this.up(name);
    await Promise.all([
      this.healthy('plugin-server', /"listening"/),
      this.healthy('admin', /"listening"/),
      this.healthy('upstream'),
    ]);
  }

  up(name: string): Running {
    const service = this.#run.start(name);
    this.#services.set(name, service);
    return service;
  }

  /** One that is up. */
  of(name: string): Running {
    const service = this.#services.get(name);
    if (service === undefined) throw new Error(`${name} is not up`);
    return service;
  }

  /** Runs a service that is to end by itself. */
  async once(name: string): Promise<string> {
    const { status, output } = await this.#run.start(name).ended;
    assert.is(status, 0, `${name}: ${output}`);
    return output;
  }

  /** Waits for the service's own health check. Each one costs a program's start, so its log is waited for before. */
  async healthy(name: string, said = /^/): Promise<void> {
    const service = this.of(name);
    const [kind, ...command] = this.#run.service(name).healthcheck?.test ?? [];
    assert.is(kind, 'CMD');
    const ended = service.ended.then(({ output }) => {
      throw new Error(`${name} ended: ${output}`);
    });
    const check = async (): Promise<void> => {
      await eventually(`${name} speaks`, () => Promise.resolve(said.test(service.output)), READY_MS);
      await eventually(
        `${name} is healthy`,
        async () => (await service.exec(command)).status === 0,
        READY_MS,
        HEALTH_CHECK_MS,
      );
    };
    await Promise.race([check(), ended]);
  }

  /** kong.yml, over the Admin API from inside of that service, as soon as it is there. */
  async importInto(name: string): Promise<void> {
    const kong = this.of(name);
    await eventually('Kong runs', () => Promise.resolve(kong.output.includes('ready\n')), READY_MS);
    const { status, output } = await kong.exec(['node', GATEWAY, 'import', '/etc/kong/kong.yml']);
    assert.is(status, 0, output);
  }

  async startKong({ imports = false } = {}): Promise<void> {
    const kong = this.up('kong');
    await eventually('Kong runs', () => Promise.resolve(kong.output.includes('ready\n')), READY_MS);
    if (imports) await this.importInto('kong');
    await eventually('Kong routes', async () => (await this.ask('/orders')).status === 401, READY_MS, 100);
  }

  /** A path at Kong, or a whole https:// URL, from where Kong is. */
  async ask(url: string, headers: Record<string, string> = {}): Promise<Answer> {
    const kong = this.of('kong');
    const answers = (): string[] => [...kong.output.matchAll(/^answer (.*)$/gm)].map(([, text = '']) => text);
    const before = answers().length;
    kong.stdin?.write(`${JSON.stringify({ url, headers })}\n`);
    const answer = await eventually('Kong answers', () => Promise.resolve(answers()[before]), READY_MS);
    return JSON.parse(answer) as Answer;
  }

  /** The command line, as `docker compose exec` would run it in the admin service. */
  async keys(...args: readonly string[]): Promise<string> {
    const config = ['--config', '/etc/hashed-key-auth/admin.yaml', '--json'];
    const { status, output } = await this.of('admin').exec(['hashed-key-auth', 'keys', ...args, ...config]);
    assert.is(status, 0, output);
    return output.split('\n').find((line) => line.startsWith('{')) ?? '';
  }

  async issue(consumer: string): Promise<{ id: string; key: string }> {
    return JSON.parse(await this.keys('create', '--consumer', consumer)) as { id: string; key: string };
  }

  async dispose(): Promise<void> {
    await this.#run.dispose();
    rmSync(this.#work, { recursive: true, force: true });
  }
}
