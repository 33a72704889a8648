/** The one model that every input is read into and every rule looks at. Files that belong together are one deployment. */
import type { Place } from './place.ts';
import type { Tree } from './tree.ts';

/** `text` is undefined where the value comes from elsewhere: a Secret, a variable, a masked answer. */
export interface Value {
  readonly text: string | undefined;
  readonly place: Place;
}

/** The settings of one Kong, under kong.conf's names. */
export interface Instance {
  readonly name: string;
  readonly settings: ReadonlyMap<string, Value>;
  readonly place: Place;
  /** Image or other sign of Kong Enterprise. */
  readonly isEnterprise: boolean;
}

/** Variables as they were set for one process or one file. */
export interface Environment {
  readonly name: string;
  readonly variables: ReadonlyMap<string, Value>;
}

export interface PublishedPort {
  /** Ports inside the container, both included. */
  readonly from: number;
  readonly to: number;
  /** Address of the host it is bound to; undefined: all. */
  readonly address: string | undefined;
  readonly place: Place;
}

export interface Container {
  readonly name: string;
  readonly isKong: boolean;
  readonly image: Value | undefined;
  /** Words of entrypoint and command; empty where the image's own are run. */
  readonly command: readonly Value[];
  readonly variables: ReadonlyMap<string, Value>;
  readonly ports: readonly PublishedPort[];
  readonly hostNetwork: Place | undefined;
  readonly settings: ReadonlyMap<string, Value>;
}

/** A Kubernetes Service that is reachable from outside of the cluster. */
export interface Exposure {
  readonly name: string;
  readonly isKong: boolean;
  readonly ports: readonly { readonly port: number; readonly name: string; readonly place: Place }[];
}

export type EntitySource = 'file' | 'admin-api' | 'postgres';

/** An entity of Kong: a plugin, route, consumer, credential, … */
export interface Entity {
  /** Kong's plural: `plugins`, `routes`, `keyauth_credentials`. */
  readonly type: string;
  readonly body: Tree;
  readonly source: EntitySource;
  /** What it hangs on: by nesting, or by the names and ids of its references. */
  readonly service: string | undefined;
  readonly route: string | undefined;
  readonly consumer: string | undefined;
  /** Names under which others refer to it. */
  readonly names: readonly string[];
}

export interface SchemaField {
  readonly name: string;
  readonly isReferenceable: boolean;
  readonly isEncrypted: boolean;
  readonly place: Place;
}

export interface Version {
  readonly text: string;
  readonly isEnterprise: boolean;
  readonly place: Place;
}

export interface Database {
  readonly isTls: boolean;
  readonly owner: string;
  readonly isOwnerSuperuser: boolean;
  readonly place: Place;
}

export interface AdminApi {
  readonly isLoopback: boolean;
  readonly isAuthenticated: boolean;
  readonly place: Place;
}

/** A configuration of ours. */
export interface OwnConfig {
  readonly tree: Tree;
  /** Whether only the owner may enter the folder of a path in it; undefined when it isn't there. */
  readonly isPrivateFolder: (path: string) => boolean | undefined;
}

export interface KubernetesSecret {
  readonly name: string;
  readonly type: string;
  readonly credential: string | undefined;
  readonly values: readonly Value[];
}

export interface Deployment {
  /** What versions are out of support depends on it. */
  readonly today: Date;
  readonly instances: Instance[];
  readonly environments: Environment[];
  /** What variables such as POSTGRES_PASSWORD_FILE give, where that file could be read, beside the plain variables. */
  readonly mounted: Environment[];
  readonly containers: Container[];
  readonly exposures: Exposure[];
  readonly entities: Entity[];
  readonly schemaFields: SchemaField[];
  readonly versions: Version[];
  readonly databases: Database[];
  readonly adminApis: AdminApi[];
  readonly kubernetesSecrets: KubernetesSecret[];
  readonly own: OwnConfig[];
}

export function emptyDeployment(today: Date): Deployment {
  return {
    today,
    instances: [],
    environments: [],
    mounted: [],
    containers: [],
    exposures: [],
    entities: [],
    schemaFields: [],
    versions: [],
    databases: [],
    adminApis: [],
    kubernetesSecrets: [],
    own: [],
  };
}

/** The KONG_ variables as settings. */
export function settingsIn(variables: ReadonlyMap<string, Value>): Map<string, Value> {
  const settings = new Map<string, Value>();
  for (const [name, value] of variables) {
    if (name.startsWith('KONG_')) settings.set(name.slice('KONG_'.length).toLowerCase(), value);
  }
  return settings;
}
