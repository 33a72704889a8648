/**
 * Runs the services of docker-compose.yml without a container engine: each in a network namespace of its own, with bridges
 * for the networks, in a mount namespace whose root has only what the file mounts, read-only where it says so, as its user
 * and groups, without capabilities. Programs of this machine stand for those of the images. Needs root on Linux.
 *
 * Everything ends with the process that started it: namespaces live as long as processes that wait on its pipes, and
 * services are told to end when their parent dies.
 */
import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from '../helpers/installation.ts';
import { mountOf, networksOf, type ComposeFile, type ComposeService } from './compose-file.ts';

/** What stands for an image. */
export interface ImageStandIn {
  /** Of the image; the file's entrypoint and command come first. */
  readonly entrypoint: readonly string[];
  readonly command?: readonly string[];
  /** Where programs are found, before /usr/bin. */
  readonly path?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Files and folders of this machine that are in the image, read-only, by their place in it. */
  readonly contents?: Readonly<Record<string, string>>;
  /** Texts that are in the image, by place. */
  readonly files?: Readonly<Record<string, string>>;
  /** Owner of folders that a fresh volume takes over. */
  readonly volumeOwner?: string;
}

export interface Ended {
  readonly status: number;
  readonly output: string;
}

/** Why the services can't be run here; undefined when they can. */
export function namespacesAbsence(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'needs root on Linux, for namespaces';
  const script =
    'ip link add b0 type bridge && ip link add v0 type veth peer name v1 && mount -t tmpfs none /mnt';
  const tried = spawnSync('unshare', ['--net', '--mount', 'sh', '-c', script], { stdio: 'ignore' });
  if (tried.status === 0) return undefined;
  return 'this machine allows no network and mount namespaces, or lacks unshare, ip, nsenter or setpriv';
}

const run = (file: string, args: readonly string[], input = ''): Promise<Ended> =>
  new Promise((resolve, reject) => {
    const child = execFile(file, args, { maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      if (error !== null && typeof error.code === 'string')
        reject(new Error(error.message, { cause: error }));
      else resolve({ status, output: stdout + stderr });
    });
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
  });

async function must(file: string, args: readonly string[], input?: string): Promise<void> {
  const { status, output } = await run(file, args, input);
  if (status !== 0) throw new Error(`${file} ${args.join(' ')}: ${output}`);
}

const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/** A network namespace that lives as long as this process holds the pipe. */
class NetworkNamespace {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async create(): Promise<NetworkNamespace> {
    const child = spawn('unshare', ['--net', 'sh', '-c', 'ip link set lo up && echo up && cat'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await new Promise<void>((resolve, reject) => {
      child.stdout.once('data', () => resolve());
      child.once('exit', (code) => reject(new Error(`unshare ended with ${code}`)));
    });
    return new NetworkNamespace(child);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  ip(commands: readonly string[]): Promise<void> {
    return must('nsenter', ['-t', String(this.pid), '-n', 'ip', '-batch', '-'], `${commands.join('\n')}\n`);
  }

  close(): void {
    this.#child.stdin?.end();
  }
}

export class Running {
  readonly #child: ChildProcess;
  readonly #identity: readonly string[];
  /** With all of its output. */
  readonly ended: Promise<Ended>;
  readonly #exited: Promise<void>;
  #output = '';

  constructor(child: ChildProcess, identity: readonly string[]) {
    this.#child = child;
    this.#identity = identity;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
    }
    this.#exited = new Promise((resolve) => {
      child.once('exit', () => resolve());
    });
    this.ended = new Promise((resolve) => {
      child.once('close', (code) => resolve({ status: code ?? -1, output: this.#output }));
    });
  }

  get output(): string {
    return this.#output;
  }

  get stdin(): NodeJS.WritableStream | undefined {
    return this.#child.stdin ?? undefined;
  }

  /** As `docker compose exec`: in the same namespaces, as the same user. */
  exec(command: readonly string[], input?: string): Promise<Ended> {
    const target = String(this.#child.pid);
    return run('nsenter', ['-t', target, '-m', '-n', '-r', '-w', ...this.#identity, ...command], input);
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill(signal);
    const force = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    await this.#exited;
    clearTimeout(force);
  }
}

export class ComposeRun {
  readonly folder = mkdtempSync(join(tmpdir(), 'hka-compose-'));
  readonly #file: ComposeFile;
  readonly #images: Readonly<Record<string, ImageStandIn>>;
  readonly #local: string;
  readonly #running = new Set<Running>();
  readonly #namespaces = new Map<string, NetworkNamespace>();
  readonly #addresses = new Map<string, Map<string, string>>();

  /** `local`: what stands for deploy/local. */
  constructor(file: ComposeFile, images: Readonly<Record<string, ImageStandIn>>, local: string) {
    this.#file = file;
    this.#images = images;
    this.#local = local;
    chmodSync(this.folder, 0o755);
  }

  service(name: string): ComposeService {
    const service = this.#file.services[name];
    if (service === undefined) throw new Error(`there is no service ${name}`);
    return service;
  }

  /** A bridge for each network, and each service's place on it. */
  async connect(): Promise<void> {
    const hub = await NetworkNamespace.create();
    this.#namespaces.set('(switch)', hub);
    for (const [index, [network, { ipam }]] of Object.entries(this.#file.networks ?? {}).entries()) {
      const subnet = ipam?.config[0]?.subnet ?? `172.31.${index}.0/24`;
      const [, base = '', mask = ''] = /^(\d+\.\d+\.\d+)\.0\/(\d+)$/.exec(subnet) ?? [];
      await hub.ip([`link add br${index} type bridge`, `link set br${index} up`]);
      let next = 10;
      for (const [name, service] of Object.entries(this.#file.services)) {
        const networks = networksOf(service);
        if (!networks.has(network)) continue;
        const address = networks.get(network) ?? `${base}.${next}`;
        next += 1;
        const own = this.#namespaces.get(name) ?? (await NetworkNamespace.create());
        this.#namespaces.set(name, own);
        const port = `p${index}-${next}`;
        await hub.ip([
          `link add ${port} type veth peer name eth${index} netns ${own.pid}`,
          `link set ${port} master br${index} up`,
        ]);
        await own.ip([`addr add ${address}/${mask} dev eth${index}`, `link set eth${index} up`]);
        const addresses = this.#addresses.get(network) ?? new Map<string, string>();
        this.#addresses.set(network, addresses.set(name, address));
      }
    }
  }

  /** Starts a service. `extra` goes into its environment. */
  start(name: string, extra: Readonly<Record<string, string>> = {}): Running {
    const service = this.service(name);
    const image = this.#image(service);
    const root = join(this.folder, `${name}-root`);
    mkdirSync(root, { recursive: true });
    const output = join(this.folder, `${name}-output`);
    rmSync(output, { force: true });
    const path = [...(image.path ?? []), '/usr/bin', '/usr/sbin'].join(':');
    const variables = { PATH: path, HOME: '/tmp', ...image.environment, ...service.environment, ...extra };
    const environment = ['env', '-i', ...Object.entries(variables).map(([key, value]) => `${key}=${value}`)];
    const identity = [...this.#identity(service), ...environment];
    const command = [
      ...(service.entrypoint ?? image.entrypoint),
      ...(service.command ?? (service.entrypoint === undefined ? (image.command ?? []) : [])),
    ];
    const script = [
      ...this.#mounts(name, service, image, root),
      // A program that opens /dev/stdout by its name must own what it is, as in a container.
      `mkfifo ${quoted(output)}; chown ${(service.user ?? '').replace(/:.*/, '')} ${quoted(output)}`,
      `cat ${quoted(output)} & exec chroot ${quoted(root)} ${[...identity, ...command].map(quoted).join(' ')} >${quoted(output)} 2>&1`,
    ].join('\n');
    const namespace = this.#namespaces.get(name);
    if (namespace === undefined) throw new Error(`${name} is on no network`);
    const child = spawn(
      'nsenter',
      [
        '-t',
        String(namespace.pid),
        '-n',
        'unshare',
        '--mount',
        '--propagation',
        'private',
        'sh',
        '-ec',
        script,
      ],
      { stdio: ['pipe', 'pipe', 'pipe'], cwd: '/' },
    );
    const running = new Running(child, identity);
    this.#running.add(running);
    return running;
  }

  async dispose(): Promise<void> {
    await Promise.all([...this.#running].map((one) => one.stop()));
    for (const namespace of this.#namespaces.values()) namespace.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  #image({ image = '' }: ComposeService): ImageStandIn {
    const found = this.#images[image.replace(/:.*/, '')];
    if (found === undefined) throw new Error(`nothing stands for the image ${image}`);
    return found;
  }

  #identity({ user = '', group_add: groups = [], cap_drop: drop = [] }: ComposeService): string[] {
    const [uid = '', gid = uid] = user.split(':');
    if (!/^\d+$/.test(uid) || drop[0] !== 'ALL')
      throw new Error('every service has a numeric user and no capability');
    return [
      'setpriv',
      `--reuid=${uid}`,
      `--regid=${gid}`,
      ...(groups.length === 0 ? ['--clear-groups'] : [`--groups=${[gid, ...groups].join(',')}`]),
      '--inh-caps=-all',
      '--bounding-set=-all',
      '--no-new-privs',
      '--pdeathsig=TERM',
    ];
  }

  /** Lines of sh that make the root folder. */
  #mounts(name: string, service: ComposeService, image: ImageStandIn, root: string): string[] {
    const at = (path: string): string => quoted(join(root, path));
    const lines = [
      `mount -t tmpfs -o mode=0755 none ${at('/')}`,
      `mkdir -p ${['usr', 'etc', 'proc', 'dev/shm', 'run', 'var', 'tmp', 'opt/bin'].map(at).join(' ')}`,
      ...['bin', 'sbin', 'lib', 'lib64'].map((link) => `ln -s usr/${link} ${at(link)}`),
      `ln -s ../run ${at('var/run')}`,
      `mount --bind -o ro /usr ${at('usr')}`,
      `mount --rbind /proc ${at('proc')}`,
      `mount -t tmpfs -o mode=1777 none ${at('dev/shm')}`,
      ...['null', 'zero', 'urandom', 'random'].map(
        (device) => `touch ${at(`dev/${device}`)}; mount --bind /dev/${device} ${at(`dev/${device}`)}`,
      ),
    ];
    for (const [fd, stream] of ['stdin', 'stdout', 'stderr'].entries()) {
      lines.push(`ln -s /proc/self/fd/${fd} ${at(`dev/${stream}`)}`);
    }
    const bind = (source: string, target: string, readOnly: boolean): void => {
      const isFolder = statSync(source).isDirectory();
      const folder = isFolder ? target : join(target, '..');
      lines.push(`mkdir -p ${at(folder)}`);
      if (!isFolder) lines.push(`touch ${at(target)}`);
      lines.push(`mount --bind ${quoted(source)} ${at(target)}`);
      if (readOnly) lines.push(`mount -o remount,bind,ro ${at(target)}`);
    };
    const text = (target: string, contents: string): void => {
      const file = join(this.folder, `${name}${target.replaceAll('/', '_')}`);
      writeFileSync(file, contents, { mode: 0o644 });
      // A script is run by its interpreter.
      chmodSync(file, 0o755);
      bind(file, target, true);
    };
    const [uid = '', gid = uid] = (service.user ?? '').split(':');
    text('/etc/passwd', `root:x:0:0::/:/bin/sh\nservice:x:${uid}:${gid}::/tmp:/bin/sh\n`);
    text('/etc/group', `root:x:0:\nservice:x:${gid}:\n`);
    text('/etc/nsswitch.conf', 'passwd: files\ngroup: files\nhosts: files\n');
    text('/etc/hosts', this.#hosts(service));
    text('/etc/resolv.conf', 'nameserver 127.0.0.1\n');
    for (const [target, source] of Object.entries(image.contents ?? {})) bind(source, target, true);
    for (const [target, contents] of Object.entries(image.files ?? {})) text(target, contents);
    for (const mount of service.tmpfs ?? []) {
      const [target = '', options = 'mode=1777'] = mount.split(/:(?=mode)/);
      lines.push(`mkdir -p ${at(target)}`, `mount -t tmpfs -o ${options} none ${at(target)}`);
    }
    for (const volume of service.volumes ?? []) {
      const { source, target, readOnly } = mountOf(volume);
      bind(source.startsWith('.') ? this.#host(source) : this.#volume(source, image), target, readOnly);
    }
    for (const secret of service.secrets ?? []) {
      const file = this.#file.secrets?.[secret]?.file ?? '';
      bind(this.#host(file), `/run/secrets/${secret}`, true);
    }
    if (service.read_only === true) lines.push(`mount -o remount,ro ${at('/')}`);
    return lines;
  }

  #hosts(service: ComposeService): string {
    const lines = ['127.0.0.1 localhost'];
    for (const network of networksOf(service).keys()) {
      for (const [name, address] of this.#addresses.get(network) ?? []) lines.push(`${address} ${name}`);
    }
    return `${lines.join('\n')}\n`;
  }

  #host(path: string): string {
    const local = './deploy/local/';
    return path.startsWith(local) ? join(this.#local, path.slice(local.length)) : join(ROOT, path);
  }

  #volume(name: string, image: ImageStandIn): string {
    const folder = join(this.folder, `volume-${name}`);
    const options = this.#file.volumes?.[name]?.driver_opts?.['o'];
    const [, mode, uid, gid] = /mode=(\d+),uid=(\d+),gid=(\d+)/.exec(options ?? '') ?? [];
    const isNew = mkdirSync(folder, { recursive: true }) !== undefined;
    if (isNew) {
      const [owner = '0', group = owner] = (image.volumeOwner ?? '0:0').split(':');
      chownSync(folder, Number(uid ?? owner), Number(gid ?? group));
      chmodSync(folder, Number.parseInt(mode ?? '0700', 8));
    }
    return folder;
  }
}
