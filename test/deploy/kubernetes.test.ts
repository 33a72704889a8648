/** deploy/kubernetes: manifests that hang together, pods that may do nothing more than they need (R5, R6, R8, R12). */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import * as assert from 'uvu/assert';
import { parseAllDocuments } from 'yaml';
import { parseInjectorConfig, parsePluginConfig } from '../../src/plugin/config.ts';
import { loadConfig } from '../../src/runtime/config.ts';
import { ROOT } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('Kubernetes manifests');
const FOLDER = join(ROOT, 'deploy', 'kubernetes');

interface Mount {
  readonly name: string;
  readonly mountPath: string;
  readonly readOnly?: boolean;
}
interface Container {
  readonly name: string;
  readonly image?: string;
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly securityContext?: Readonly<Record<string, unknown>>;
  readonly resources?: { readonly requests?: object; readonly limits?: { readonly memory?: string } };
  readonly volumeMounts?: readonly Mount[];
}
interface PodSpec {
  readonly serviceAccountName: string;
  readonly automountServiceAccountToken: boolean;
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly initContainers?: readonly Container[];
  readonly containers: readonly Container[];
  readonly volumes: readonly {
    readonly name: string;
    readonly configMap?: { readonly name: string };
    readonly persistentVolumeClaim?: { readonly claimName: string };
    readonly projected?: { readonly sources: readonly { serviceAccountToken?: { audience?: string } }[] };
  }[];
}
interface Resource {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata?: { readonly name: string; readonly annotations?: Readonly<Record<string, string>> };
  readonly spec?: Readonly<Record<string, unknown>>;
  readonly plugin?: string;
  readonly config?: Readonly<Record<string, unknown>>;
  readonly resources?: readonly string[];
  readonly patches?: readonly { readonly path?: string }[];
  readonly configMapGenerator?: readonly { readonly name: string; readonly files: readonly string[] }[];
}

const paths = readdirSync(FOLDER, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name));
function documentsIn(path: string): Resource[] {
  return parseAllDocuments(readFileSync(path, 'utf8'), { strict: true, uniqueKeys: true }).map((document) => {
    assert.equal(document.errors, [], path);
    return document.toJS() as Resource;
  });
}
const kustomizations = paths.filter((path) => path.endsWith('kustomization.yaml'));
const resources = paths
  .filter((path) => !/kustomization|-config\.yaml|kong\.yml|patch/.test(path))
  .flatMap((path) => documentsIn(path));
const podOf = (resource: Resource): PodSpec | undefined =>
  (resource.spec?.['template'] as { spec?: PodSpec } | undefined)?.spec;
const pods = resources.flatMap((resource) => podOf(resource) ?? []);
const controllerPatch = documentsIn(
  join(FOLDER, 'overlays/ingress-controller/controller-patch.yaml'),
).flatMap((resource) => podOf(resource)?.containers.filter(({ image }) => image !== undefined) ?? []);
const containers = [
  ...pods.flatMap(({ initContainers = [], containers: own }) => [...initContainers, ...own]),
  ...controllerPatch,
];

test('every file is named by a kustomization, and every named file is there', () => {
  const named = kustomizations.flatMap((path) => {
    const [kustomization] = documentsIn(path);
    const {
      resources: list = [],
      patches = [],
      configMapGenerator = [],
    } = kustomization ?? { resources: [] };
    return [
      ...list,
      ...patches.flatMap(({ path: patch }) => patch ?? []),
      ...configMapGenerator.flatMap(({ files }) => files.map((file) => file.replace(/^.*=/, ''))),
    ].map((name) => join(dirname(path), name));
  });
  const files = named.map((path) => (path.endsWith('base') ? join(path, 'kustomization.yaml') : path));
  for (const path of files) assert.ok(paths.includes(path), relative(FOLDER, path));
  const roots = kustomizations.filter((path) => path.includes('/overlays/'));
  assert.equal(new Set([...files, ...roots]), new Set(paths));
});

test('containers: not root, read-only root folder, no capability, memory bounded, a fixed version', () => {
  assert.ok(containers.length >= 5);
  for (const { name, image = '', securityContext = {}, resources: limits } of containers) {
    const { runAsUser, ...context } = securityContext;
    assert.ok(Number(runAsUser) > 0, name);
    assert.is(context['runAsNonRoot'], true, name);
    assert.is(context['readOnlyRootFilesystem'], true, name);
    assert.is(context['allowPrivilegeEscalation'], false, name);
    assert.equal(context['capabilities'], { drop: ['ALL'] }, name);
    assert.ok(limits?.limits?.memory !== undefined && limits.requests !== undefined, name);
    // Ours gets its version from the kustomization.
    assert.ok(image === 'hashed-key-auth' || /:\d+\.\d+\.\d+$/.test(image), `${name}: ${image}`);
  }
});

test('pods: seccomp, no token for Kubernetes’ API, one for Vault’s audience alone', () => {
  assert.is(pods.length, 2);
  for (const pod of pods) {
    assert.is(pod.automountServiceAccountToken, false);
    assert.equal(pod.securityContext['seccompProfile'], { type: 'RuntimeDefault' });
    const tokens = pod.volumes.flatMap(({ projected }) => projected?.sources ?? []);
    assert.equal(
      tokens.map(({ serviceAccountToken }) => serviceAccountToken?.audience),
      ['vault'],
    );
  }
  assert.is(new Set(pods.map(({ serviceAccountName }) => serviceAccountName)).size, 2);
});

test('volumes: each mount has one, each ConfigMap is made or named as yours, and the socket is shared by two', () => {
  const generated = kustomizations.flatMap((path) =>
    documentsIn(path).flatMap(({ configMapGenerator = [] }) => configMapGenerator.map(({ name }) => name)),
  );
  const claims = resources
    .filter(({ kind }) => kind === 'PersistentVolumeClaim')
    .map(({ metadata }) => metadata?.name);
  for (const { volumes, initContainers = [], containers: own } of pods) {
    const names = volumes.map(({ name }) => name);
    const mounts = [...initContainers, ...own].flatMap(({ volumeMounts = [] }) => volumeMounts);
    assert.equal(new Set(mounts.map(({ name }) => name)), new Set(names));
    for (const { configMap, persistentVolumeClaim: claim } of volumes) {
      if (configMap !== undefined)
        assert.ok([...generated, 'internal-ca'].includes(configMap.name), configMap.name);
      if (claim !== undefined) assert.ok(claims.includes(claim.claimName), claim.claimName);
    }
  }
  const withSocket = containers.filter(({ volumeMounts = [] }) =>
    volumeMounts.some(({ name }) => name === 'socket'),
  );
  assert.equal(
    withSocket.map(({ name }) => name),
    ['plugin-server', 'proxy'],
  );
  const withVault = containers.filter(({ volumeMounts = [] }) =>
    volumeMounts.some(({ name }) => name === 'vault-token'),
  );
  assert.equal(withVault.map(({ name }) => name).toSorted(), ['admin', 'plugin-server']);
});

test('R5: Kong’s Admin API and our admin service are on loopback; Services lead to the proxy alone', () => {
  const proxy = containers.find(({ name }) => name === 'proxy');
  const setting = (name: string): string | undefined => proxy?.env?.find((one) => one.name === name)?.value;
  assert.is(setting('KONG_ADMIN_LISTEN'), '127.0.0.1:8001');
  const services = resources.filter(
    ({ kind, spec }) => kind === 'Service' && spec?.['type'] !== 'ExternalName',
  );
  const ports = services.flatMap(({ spec }) =>
    ((spec?.['ports'] ?? []) as { targetPort: string }[]).map((port) => port.targetPort),
  );
  assert.equal(ports, ['proxy', 'proxy-tls']);
  assert.is(loadConfig(join(FOLDER, 'base/admin-config.yaml')).admin.listen, '127.0.0.1:8101');
});

test('R12: the configurations are in order, each with a role of its own in Vault and in the database', () => {
  const gateway = loadConfig(join(FOLDER, 'base/gateway-config.yaml'));
  const admin = loadConfig(join(FOLDER, 'base/admin-config.yaml'));
  const group = pods.find(({ serviceAccountName }) => serviceAccountName === 'gateway')?.securityContext[
    'fsGroup'
  ];
  assert.is(gateway.server.socketGroup, group);
  assert.not.equal(gateway.vault?.auth, admin.vault?.auth);
  assert.is.not(gateway.store.postgres?.user, admin.store.postgres?.user);
});

test('R8: everything is denied, but for what a policy names; each selector fits a pod', () => {
  const policies = resources.filter(({ kind }) => kind === 'NetworkPolicy');
  const [deny, ...rest] = policies;
  assert.equal(deny?.spec, { podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
  const labels = resources.flatMap(({ kind, metadata }) =>
    kind === 'Deployment' ? (metadata?.name ?? []) : [],
  );
  const selected = rest
    .flatMap(({ spec }) => [...JSON.stringify(spec?.['podSelector']).matchAll(/"([\w-]+)"(?=[\],}])/g)])
    .map(([, name]) => name ?? '');
  for (const name of selected.filter((text) => text !== 'In')) assert.ok(labels.includes(name), name);
  assert.equal(new Set(selected.filter((text) => text !== 'In')), new Set(labels));
});

test('KongPlugins: our plugins’ configurations are good ones, and what an Ingress names is there', () => {
  const plugins = resources.filter(({ kind }) => kind === 'KongPlugin' || kind === 'KongClusterPlugin');
  for (const { plugin, config = {} } of plugins) {
    if (plugin === 'hashed-key-auth') parsePluginConfig(config);
    if (plugin === 'vault-upstream-secrets') parseInjectorConfig(config);
  }
  assert.ok(plugins.filter(({ plugin }) => plugin === 'hashed-key-auth').length >= 2);
  const names = plugins.map(({ metadata }) => metadata?.name);
  const used = resources.flatMap(
    ({ metadata }) => metadata?.annotations?.['konghq.com/plugins']?.split(', ') ?? [],
  );
  assert.ok(used.length > 0);
  for (const name of used) assert.ok(names.includes(name), name);
});

const tool = ['kustomize', 'kubectl'].find(
  (name) => spawnSync(name, ['version', '--client'], { stdio: 'ignore' }).status === 0,
);
const withTool = test.needing(tool === undefined ? 'neither kustomize nor kubectl here' : undefined);
for (const overlay of ['example', 'ingress-controller']) {
  withTool(`kustomize builds the overlay ${overlay}`, () => {
    const args = tool === 'kubectl' ? ['kustomize'] : ['build'];
    const { stdout, stderr, status } = spawnSync(tool ?? '', [...args, join(FOLDER, 'overlays', overlay)], {
      encoding: 'utf8',
    });
    assert.is(status, 0, stderr);
    const built = parseAllDocuments(stdout).map((document) => document.toJS() as Resource);
    const gateway = built.find(({ kind, metadata }) => kind === 'Deployment' && metadata?.name === 'gateway');
    const pod = gateway === undefined ? undefined : podOf(gateway);
    const names = pod?.containers.map(({ name }) => name);
    assert.equal(names, ['plugin-server', 'proxy', ...(overlay === 'example' ? [] : ['ingress-controller'])]);
    const variables = pod?.containers[1]?.env?.map(({ name }) => name) ?? [];
    // The controller sends the configuration.
    assert.is(variables.includes('KONG_DECLARATIVE_CONFIG'), overlay === 'example');
    for (const { image = '' } of pod?.containers ?? []) assert.match(image, /:\d+\.\d+\.\d+$/);
    for (const { configMap } of pod?.volumes ?? []) {
      if (configMap === undefined || configMap.name === 'internal-ca') continue;
      assert.ok(
        built.some(({ kind, metadata }) => kind === 'ConfigMap' && metadata?.name === configMap.name),
        configMap.name,
      );
    }
  });
}

test.run();
