import type { Rule } from '../rule.ts';
import { isReference } from '../secrets.ts';

function isPublic(text: string): boolean {
  return text.startsWith('-----BEGIN CERTIFICATE') || text.startsWith('-----BEGIN PUBLIC KEY');
}

export const rule: Rule = {
  id: 'R3-kubernetes-secret-in-file',
  severity: 'medium',
  title: 'Kubernetes Secret with its contents in a manifest',
  why: 'Base64 is no encryption: whoever reads the repository has the secret, also after it was taken out again.',
  mend: 'Let External Secrets, the Vault agent or sealed secrets make it, and keep manifests to names.',
  *find({ kubernetesSecrets }) {
    for (const { credential, values } of kubernetesSecrets) {
      // Credentials of consumers have rules of their own.
      if (credential !== undefined) continue;
      for (const { text, place } of values) {
        if (text === undefined || text === '' || isReference(text) || isPublic(text)) continue;
        if (!/\.(?:id|username|kongCredType)$/.test(place.path)) yield { place };
      }
    }
  },
  examples: {
    bad: [
      {
        files: {
          'secret.yaml': `apiVersion: v1
kind: Secret
metadata: {name: db}
data:
  password: bm90LWEtcmVhbC1wYTU1
`,
        },
      },
    ],
    good: [
      {
        files: {
          'secret.yaml': `apiVersion: v1
kind: Secret
metadata: {name: db}
type: Opaque
`,
        },
      },
    ],
  },
};
