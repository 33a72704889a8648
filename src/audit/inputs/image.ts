/** Names of container images: `registry/name:tag@digest`. */

export interface Image {
  readonly name: string;
  readonly tag: string | undefined;
  readonly isDigest: boolean;
}

export function parseImage(text: string): Image {
  const [reference = '', digest] = text.split('@');
  const slash = reference.lastIndexOf('/');
  const colon = reference.indexOf(':', slash + 1);
  return {
    name: colon < 0 ? reference : reference.slice(0, colon),
    tag: colon < 0 ? undefined : reference.slice(colon + 1),
    isDigest: digest !== undefined,
  };
}

const GATEWAY =
  /^(?:(?:docker\.io\/)?(?:library\/|kong\/|bitnami(?:legacy)?\/)?)kong(?:-gateway|-enterprise-edition|-gateway-dev)?$/;

/** Of the gateway itself; not the ingress controller, nor tools around it. */
export function isKongImage({ name }: Image): boolean {
  return GATEWAY.test(name) || /\/kong(?:-gateway)?$/.test(name);
}

export function isEnterpriseImage({ name }: Image): boolean {
  return /kong-gateway|kong-enterprise-edition/.test(name);
}

/** HashiCorp Vault or OpenBao. */
export function isVaultImage({ name }: Image): boolean {
  return /(?:^|\/)(?:vault|vault-enterprise|openbao)$/.test(name);
}

export function isPostgresImage({ name }: Image): boolean {
  return /(?:^|\/)(?:postgres|postgresql|pgvector|timescaledb)$/.test(name);
}
