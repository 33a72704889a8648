/** What compose and Kubernetes have in common: a container with an image and variables. */
import {
  settingsIn,
  type Container,
  type Deployment,
  type PublishedPort,
  type Value,
} from '../deployment.ts';
import type { Place } from '../place.ts';
import { isEnterpriseImage, isKongImage, parseImage } from './image.ts';
import { hasEnterpriseSettings } from './settings-file.ts';

export interface ContainerFacts {
  readonly name: string;
  readonly place: Place;
  readonly image: Value | undefined;
  readonly command: readonly Value[];
  readonly variables: ReadonlyMap<string, Value>;
  readonly ports: readonly PublishedPort[];
  readonly hostNetwork: Place | undefined;
}

export function addContainer(facts: ContainerFacts, deployment: Deployment): Container {
  const { name, place, image, command, variables, ports, hostNetwork } = facts;
  const settings = settingsIn(variables);
  const parsed = image?.text === undefined ? undefined : parseImage(image.text);
  const isKong =
    (parsed !== undefined && isKongImage(parsed)) ||
    ['database', 'proxy_listen', 'admin_listen', 'declarative_config', 'role'].some((one) =>
      settings.has(one),
    );
  deployment.environments.push({ name, variables });
  if (isKong) {
    const isEnterprise =
      (parsed !== undefined && isEnterpriseImage(parsed)) || hasEnterpriseSettings(settings);
    deployment.instances.push({ name, settings, place, isEnterprise });
  }
  const container = { name, isKong, image, command, variables, ports, hostNetwork, settings };
  deployment.containers.push(container);
  return container;
}
