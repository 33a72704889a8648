import type { Container } from '../deployment.ts';
import { isVaultImage, parseImage } from '../inputs/image.ts';
import type { Hit, Rule } from '../rule.ts';

const DEV_VARIABLES = ['VAULT_DEV_ROOT_TOKEN_ID', 'BAO_DEV_ROOT_TOKEN_ID'];

export const rule: Rule = {
  id: 'R12-vault-dev-mode',
  severity: 'high',
  title: 'Vault in development mode',
  why: 'It is unsealed from the start by a key that nobody keeps, holds everything in memory, and one root token, often a known one, opens all of it.',
  mend: 'Run `vault server -config=…` with storage and TLS, unseal it by a KMS or by key shares of several people, and revoke the root token after the set-up.',
  *find({ containers }) {
    for (const container of containers) yield* devMode(container);
  },
  examples: {
    bad: [
      {
        files: {
          'docker-compose.yml': `services:
  vault:
    image: hashicorp/vault:1.21
    command: vault server -dev -dev-listen-address=0.0.0.0:8200
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  vault:
    image: hashicorp/vault:1.21
    command: [server, -config=/vault/config]
    environment:
      VAULT_DEV_ROOT_TOKEN_ID: root
`,
        },
      },
      {
        // What the image does when it is told nothing.
        files: {
          'docker-compose.yml': `services:
  vault:
    image: hashicorp/vault:1.21
    cap_add: [IPC_LOCK]
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  vault:
    image: registry.example.com/tools/vault-with-plugins:3
    entrypoint: [sh, -c]
    command:
      - vault server -dev-tls -dev-root-token-id="$$(cat /run/secrets/token)"
`,
        },
      },
      {
        files: {
          'vault.yaml': `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: vault}
spec:
  template:
    spec:
      containers:
        - name: vault
          image: openbao/openbao:2.4
          args: [server, -dev]
`,
        },
      },
    ],
    good: [
      {
        files: {
          'docker-compose.yml': `services:
  vault:
    image: hashicorp/vault:1.21
    entrypoint: [vault]
    command: [server, -config=/etc/vault/vault.hcl]
  setup:
    image: hashicorp/vault:1.21
    entrypoint: [/bin/sh, /setup.sh]
  worker:
    image: example/worker:1
    command: [serve, -dev]
`,
        },
      },
      {
        files: {
          'vault.yaml': `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: vault}
spec:
  template:
    spec:
      containers:
        - name: vault
          image: hashicorp/vault:1.21
          args: [server, -config=/vault/config]
`,
        },
      },
    ],
  },
};

function* devMode({ image, command, variables }: Container): Generator<Hit> {
  const isVault = image?.text !== undefined && isVaultImage(parseImage(image.text));
  const words = command.flatMap(({ text, place }) =>
    (text ?? '').split(/\s+/).map((word) => ({ word, place })),
  );
  const runsServer =
    words.some(({ word }) => word === 'server') &&
    (isVault || words.some(({ word }) => /(?:^|\/)(?:vault|bao)$/.test(word)));
  const option = words.find(({ word }) => /^--?dev(?:-|=|$)/.test(word));
  if (runsServer && option !== undefined) yield { place: option.place };
  if (!isVault) return;
  for (const name of DEV_VARIABLES) {
    const variable = variables.get(name);
    if (variable !== undefined) yield { place: variable.place };
  }
  // With nothing else to run, the images run `server -dev`.
  if (command.length === 0) yield { place: image.place, found: 'what the image does by itself' };
}
