import { isWeakIn } from '../looking.ts';
import type { Rule } from '../rule.ts';
import { hasUserInfo, isReference, isSecretName } from '../secrets.ts';

export const rule: Rule = {
  id: 'R3-environment-secret-plain',
  severity: 'medium',
  title: 'Secret as a plain environment variable',
  why: 'The file that sets it holds it in plain text, and whoever may inspect the container or read /proc sees it.',
  mend: "Mount it as a file (compose `secrets`, a Kubernetes Secret made outside of the repository; Kong's image takes KONG_PG_PASSWORD_FILE) or take it from a vault.",
  *find({ environments }) {
    for (const { variables } of environments) {
      for (const [name, { text, place }] of variables) {
        if (text === undefined || text === '' || isReference(text) || /^\/(?:run|var|etc)\//.test(text))
          continue;
        // Weak ones are worse, and another rule's.
        if (hasUserInfo(text) || (isSecretName(name.toLowerCase()) && !isWeakIn(variables, name)))
          yield { place };
      }
    }
  },
  examples: {
    bad: [
      {
        files: {
          'docker-compose.yml': `services:
  db:
    image: postgres:17
    environment:
      POSTGRES_PASSWORD: n0t-a-real-pa55
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  db:
    image: postgres:17
    environment:
      - POSTGRES_PASSWORD=n0t-a-real-pa55
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    env_file: ./kong.env
`,
        },
        beside: { 'kong.env': 'KONG_PG_PASSWORD=n0t-a-real-pa55\n' },
      },
      {
        files: {
          'kong.env': `KONG_PG_PASSWORD=n0t-a-real-pa55
`,
        },
      },
      {
        files: {
          'pod.yaml': `apiVersion: v1
kind: Pod
metadata: {name: kong}
spec:
  containers:
    - name: proxy
      image: kong:3.9
      env:
        - name: KONG_PG_PASSWORD
          value: n0t-a-real-pa55
`,
        },
      },
    ],
    good: [
      {
        files: {
          'docker-compose.yml': `services:
  db:
    image: postgres:17
    environment:
      POSTGRES_PASSWORD_FILE: /run/secrets/db
  app:
    image: example/app:1
    environment:
      DB_PASSWORD: \${DB_PASSWORD}
`,
        },
      },
      {
        files: {
          'pod.yaml': `apiVersion: v1
kind: Pod
metadata: {name: kong}
spec:
  containers:
    - name: proxy
      image: kong:3.9
      env:
        - name: KONG_PG_PASSWORD
          valueFrom: {secretKeyRef: {name: db, key: password}}
`,
        },
      },
    ],
  },
};
