/** The OpenAPI 3.1 description, made of the schemas that validate requests: what it says is what is done. */
import swagger from '@fastify/swagger';
import type { FastifyInstance } from 'fastify';

/** Before any route is added: those that are there already would be missing. */
export async function describeApi(app: FastifyInstance, version: string): Promise<void> {
  await app.register(swagger, options(version));
}

/** Bodies of which every field may be left out may be left out themselves. */
function withOptionalBodies(document: object): object {
  return JSON.parse(JSON.stringify(document), (name, value: unknown) => {
    if (name !== 'requestBody' || typeof value !== 'object' || value === null) return value;
    return { ...value, required: JSON.stringify(value).includes('"minProperties":') };
  }) as object;
}

function options(version: string): Parameters<typeof swagger>[1] & object {
  return {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'hashed-key-auth admin',
        version,
        description: 'Issues, rotates, revokes and lists hashed API keys for Kong.',
      },
      security: [{ token: [] }],
      components: {
        securitySchemes: {
          token: {
            type: 'http',
            scheme: 'bearer',
            description: 'From `admin-token create`. Not needed on a Unix socket without tokens.',
          },
        },
      },
    },
    transformObject: (given) => withOptionalBodies('openapiObject' in given ? given.openapiObject : given),
    refResolver: {
      buildLocalReference: (schema, _base, _fragment, at) =>
        typeof schema['$id'] === 'string' ? schema['$id'] : `def-${at}`,
    },
  };
}
