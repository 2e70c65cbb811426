import { spawnSync } from 'node:child_process';
import { existsSync, globSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { withPatches } from '../../scripts/chart/skaffold-profiles.ts';
import { BASE, type Loose, readText, render, ROOT } from './render.ts';

describe('Chart.yaml', () => {
  const chart = parse(readText('charts/scheduler/Chart.yaml'));

  it('has versions, maintainers and an icon, and depends on no other chart', () => {
    expect(chart).toMatchObject({ apiVersion: 'v2', type: 'application', kubeVersion: '>=1.30.0-0' });
    expect(chart.version).toMatch(/^\d+\.\d+\.\d+$/);
    expect(chart.appVersion).toBe(JSON.parse(readText('package.json')).version);
    expect(chart.maintainers).not.toEqual([]);
    expect(chart.icon).toBeTypeOf('string');
    expect(chart.dependencies).toBeUndefined();
  });

  it('has a version that UPGRADING.md describes', () => {
    expect(readText('charts/scheduler/UPGRADING.md')).toContain(`\n## ${chart.version}\n`);
  });
});

it('scripts in the chart load only modules that an image has', () => {
  const scripts = readdirSync(join(ROOT, 'charts/scheduler/files')).filter((name) => name.endsWith('.mjs'));
  const built = scripts.flatMap((name) => [
    ...readText(`charts/scheduler/files/${name}`).matchAll(/'dist\/([\w/.-]+)\.js'/g),
  ]);
  expect(built).not.toEqual([]);
  for (const [, path] of built) expect(existsSync(join(ROOT, `src/${path}.ts`)), path).toBe(true);
});

describe('notes after an installation', () => {
  const notes = (set: readonly string[] = []): string => {
    const command = ['install', 'r', 'charts/scheduler', '--namespace=test', '--values', BASE, '--dry-run=client'];
    const { stdout, stderr } = spawnSync('helm', [...command, ...set.flatMap((each) => ['--set', each])], {
      cwd: ROOT,
      encoding: 'utf8',
      env: { ...process.env, KUBECONFIG: '/dev/null' },
    });
    const begin = stdout.indexOf('\nNOTES:\n');
    if (begin === -1) throw new Error(`no notes: ${stderr}`);
    return stdout.slice(begin);
  };

  it('explain tests, access to the API, evaluation stores, scaling and the number of connections', () => {
    const text = notes();
    expect(text).toContain('helm test r --namespace test');
    expect(text).toContain('kubectl port-forward --namespace test service/r-scheduler-api 8000:80');
    expect(text).toContain('for evaluation');
    expect(text).toContain('For production see externalDatabase and externalRedis.');
    expect(text).toContain('--set workers.default.autoscaling.mode=hpa');
    expect(text).toMatch(/PostgreSQL must allow \d+ connections/);
  });

  it('name the chosen access to the API', () => {
    expect(notes(['api.ingress.enabled=true', 'api.ingress.hosts={a.example.com}'])).toContain(
      '  http://a.example.com/docs\n',
    );
    const route = [
      'api.httpRoute.enabled=true',
      'api.httpRoute.parentRefs[0].name=g',
      'api.httpRoute.hostnames={b.example.com}',
    ];
    expect(notes(route)).toContain('  b.example.com/docs, through the gateway\n');
    expect(notes(['api.service.type=NodePort', 'api.service.nodePort=30080'])).toContain('  port 30080 of every node');
  });

  it('say how to make the first client, or that everybody may do everything', () => {
    const create =
      'kubectl exec --namespace test deployment/r-scheduler-api -- node dist/main.js clients create admin --role admin';
    const text = notes();
    expect(text).toContain(`\n  ${create}\n`);
    expect(text).toContain('--header "Authorization: Bearer $SECRET"');
    expect(text).toContain('Wait until the API is ready (with helmTest.client, also submit a task');
    const open = notes(['auth.mode=open']);
    expect(open).toContain('Whoever reaches the API may do everything (auth.mode=open). This is only for evaluations.');
    expect(open).not.toMatch(/clients create|Authorization/);
    expect(open).toContain('Submit a task and wait until it is COMPLETED.');
    const first = ['auth.clients.a.existingSecret=s', 'auth.clients.a.role=submitter', 'helmTest.client=a'];
    const withClient = notes(first);
    expect(withClient).toContain('Submit a task and wait until it is COMPLETED.');
    expect(withClient).toContain('Clients of the values: a.');
  });

  it('name the target of a group with autoscaling', () => {
    expect(notes(['workers.default.autoscaling.mode=hpa'])).toContain(
      '1 to 10 pods by hpa, one for every 8 tasks that are ready, due or in flight.',
    );
  });
});

describe('skaffold.yaml', () => {
  const skaffold = parse(readText('skaffold.yaml'));
  const [release] = skaffold.deploy.helm.releases;

  it('passes the image that it has built to the chart, and does not push it', () => {
    expect(skaffold.apiVersion).toBe('skaffold/v4beta14');
    expect(release.setValueTemplates).toEqual({
      'image.repository': '{{.IMAGE_REPO_scheduler}}',
      'image.tag': '{{.IMAGE_TAG_scheduler}}',
    });
    expect(skaffold.build.local.push).toBe(false);
    expect(skaffold.portForward.map(({ resourceName }: Loose) => resourceName)).toContain('scheduler-api');
    expect(readText('docs/skaffold.md')).toContain('Skaffold 2.19');
  });

  it('runs sources that are copied into the pods for `skaffold dev`', () => {
    const dev = skaffold.profiles.find(({ name }: Loose) => name === 'dev');
    expect(dev.activation).toEqual([{ command: 'dev' }]);
    const sync = dev.patches.find(({ path }: Loose) => path === '/build/artifacts/0/sync');
    expect(sync.value.manual).not.toEqual([]);
    // `node --watch` watches only imported files, and SQL and Lua files are not imported.
    expect(sync.value.hooks.after).toEqual([{ container: { command: ['touch', 'src/main.ts'] } }]);
    expect(parse(readText('k8s/values-dev.yaml')).development.sync).toBe(true);
  });

  it('does not label the stores and the migration with its run, which would replace pods or fail', () => {
    const denied = skaffold.resourceSelector.deny.map(({ groupKind, labels }: Loose) => [groupKind, ...labels]);
    expect(denied).toEqual([
      ['StatefulSet.apps', '.*'],
      ['Job.batch', '.*'],
    ]);
  });

  it('has profiles that patch existing fields', () => {
    const eks = withPatches(
      skaffold,
      skaffold.profiles.find(({ name }: Loose) => name === 'eks'),
    ) as Loose;
    expect(eks.deploy.kubeContext).toBeUndefined();
    expect(eks.portForward.map(({ resourceName }: Loose) => resourceName)).toEqual(['scheduler-api']);
    expect(eks.deploy.helm.releases[0].valuesFiles).toEqual(['k8s/values-eks.yaml']);
    const wrong = {
      name: 'wrong',
      patches: [{ op: 'replace', path: '/build/artifacts/1/docker', value: {} }],
    } as const;
    expect(() => withPatches(skaffold, wrong)).toThrow(
      'profile wrong: nothing to replace at /build/artifacts/1/docker',
    );
  });

  it('refers only to existing files', () => {
    const files = JSON.stringify(skaffold).match(/k8s\/[\w.-]+/g) ?? [];
    expect(files.length).toBeGreaterThan(3);
    for (const file of files) expect(() => readText(file), file).not.toThrow();
  });
});

describe('kind-config.yaml', () => {
  const kind = parse(readText('kind-config.yaml'));

  it('has two workers, images with digests, ports on localhost only, and the context of skaffold.yaml', () => {
    expect(kind.apiVersion).toBe('kind.x-k8s.io/v1alpha4');
    expect(kind.nodes.map(({ role }: Loose) => role)).toEqual(['control-plane', 'worker', 'worker']);
    for (const { image } of kind.nodes) expect(image).toMatch(/^kindest\/node:v[\d.]+@sha256:[0-9a-f]{64}$/);
    for (const port of kind.nodes[0].extraPortMappings) expect(port.listenAddress).toBe('127.0.0.1');
    expect(parse(readText('skaffold.yaml')).deploy.kubeContext).toBe(`kind-${kind.name}`);
  });

  it('maps its port to the node port in the values for kind', () => {
    const { service } = parse(readText('k8s/values-kind.yaml')).api;
    expect(kind.nodes[0].extraPortMappings[0].containerPort).toBe(service.nodePort);
  });
});

describe('scripts/kind-up', () => {
  /** Runs the script with stubs and returns their calls. */
  const calls = (args: readonly string[], helm = 'v4.1.4'): { lines: string[]; stderr: string } => {
    const directory = mkdtempSync(join(tmpdir(), 'kind-up-'));
    try {
      const log = join(directory, 'log');
      const program = (name: string, body = ''): void =>
        writeFileSync(join(directory, name), `#!/bin/bash\necho "${name} $*" >>'${log}'\n${body}\n`, { mode: 0o755 });
      program(
        'docker',
        `while [ $# -gt 0 ]; do [ "$1" = --iidfile ] && echo sha256:${'12345678'.repeat(8)} >"$2"; shift; done`,
      );
      program('kind');
      program('kubectl');
      program('helm', `[ "$1" = version ] && echo ${helm}; true`);
      writeFileSync(log, '');
      const { stderr } = spawnSync(`${ROOT}scripts/kind-up`, args, {
        encoding: 'utf8',
        env: { ...process.env, PATH: `${directory}:${process.env['PATH']}`, TMPDIR: directory },
      });
      const lines = readFileSync(log, 'utf8')
        .replaceAll(/\/\S*\/tmp\.\w+/g, 'SCRATCH')
        .trim()
        .split('\n');
      return { lines: lines.filter((line) => !/^(helm version|docker info)/.test(line)), stderr };
    } finally {
      rmSync(directory, { recursive: true });
    }
  };

  it('creates the cluster, loads the image of this clone, installs the chart and runs a task', () => {
    const { lines, stderr } = calls([]);
    expect(stderr).toBe('');
    expect(lines).toEqual([
      'kind get clusters',
      'kind create cluster --config kind-config.yaml --wait 3m',
      'kind export kubeconfig --name scheduler --kubeconfig SCRATCH/kubeconfig',
      'docker build --iidfile SCRATCH/id .',
      `docker tag sha256:${'12345678'.repeat(8)} scheduler:123456781234`,
      'kind load docker-image scheduler:123456781234 --name scheduler',
      'helm upgrade --install scheduler charts/scheduler --kube-context kind-scheduler --namespace scheduler --create-namespace --values k8s/values-kind.yaml --set-string image.tag=123456781234 --timeout 5m',
      'kubectl --namespace scheduler rollout status deployment --selector app.kubernetes.io/instance=scheduler --timeout 5m',
      'helm test scheduler --kube-context kind-scheduler --namespace scheduler --logs',
    ]);
  });

  it('installs the charts that autoscaling needs before the release', () => {
    const { lines } = calls(['--autoscaling']);
    const at = (text: string): number => lines.findIndex((line) => line.includes(text));
    expect(at('install prometheus-adapter')).toBeGreaterThan(at('install kube-prometheus-stack'));
    expect(at('install scheduler')).toBeGreaterThan(at('install prometheus-adapter'));
    expect(lines[at('install scheduler')]).toContain(
      '--values k8s/values-kind.yaml --values k8s/values-autoscaling.yaml --values k8s/values-monitoring.yaml',
    );
  });

  it('deletes only its own cluster, and reports what is missing', () => {
    expect(calls(['--delete']).lines).toEqual(['kind delete cluster --name scheduler']);
    expect(calls([], 'v3.19.0')).toEqual({ lines: [], stderr: 'Helm 4 is needed; this is v3.19.0\n' });
    expect(calls(['--autoscale']).stderr).toMatch(/^unknown option: --autoscale; see .*kind-up --help\n$/);
  });
});

describe('k8s/', () => {
  it('contains values and pinned versions, but no manifests', () => {
    const files = readdirSync(`${ROOT}k8s`, { recursive: true, encoding: 'utf8' }).filter((file) =>
      file.endsWith('.yaml'),
    );
    for (const file of files)
      for (const document of parseAllDocuments(readText(`k8s/${file}`)))
        expect(document.toJS(), file).not.toHaveProperty('kind');
    const install = readText('k8s/monitoring/install');
    const pins = [...install.matchAll(/--version "\$(\w+)"/g)].map(([, name]) => name!);
    expect(pins).toHaveLength([...install.matchAll(/helm upgrade --install/g)].length);
    for (const name of pins) expect(install).toMatch(new RegExp(`^${name}=\\d+\\.\\d+\\.\\d+$`, 'm'));
  });
});

describe('docs/chart-checks.md', () => {
  it('names only existing tests and steps', () => {
    const text = readText('docs/chart-checks.md');
    const tests = [...text.matchAll(/`((?:src|test)\/[\w./-]+\.test\.ts)`/g)].map(([, path]) => path!);
    expect(tests.length).toBeGreaterThan(5);
    for (const path of tests) expect(() => readText(path), path).not.toThrow();
    const steps = readdirSync(`${ROOT}scripts/cluster/steps`)
      .map((file) => readText(`scripts/cluster/steps/${file}`))
      .join('\n');
    for (const [, name] of text.matchAll(/`e2e ([a-z-]+)`/g)) expect(steps).toContain(`name: '${name}'`);
    // A check keeps its number, so that a new one gets the next number wherever its row is.
    const numbers = [...text.matchAll(/^\| (\d+) \|/gm)].map(([, row]) => Number(row));
    expect(numbers.length).toBeGreaterThanOrEqual(65);
    expect(numbers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: numbers.length }, (_, i) => i + 1));
  });
});

describe('third-party images', () => {
  it('have digests in Compose and in the Dockerfiles, with the same digest for the same base', () => {
    for (const file of ['compose.yaml', 'compose.observability.yaml']) {
      const { services } = parse(readText(file), { merge: true });
      const images = Object.values<Loose>(services).filter(({ build }) => build === undefined);
      expect(images.length).toBeGreaterThan(1);
      for (const { image } of images) expect(image).toMatch(/^(\$\{\w+:-)?[\w./]+:v?[\d.]+@sha256:[0-9a-f]{64}\}?$/);
    }
    const base = (file: string): string[] => readText(file).match(/sha256:[0-9a-f]{64}/g) ?? [];
    expect(base('Dockerfile')).toHaveLength(1);
    expect(base('k8s/dev.Dockerfile')).toEqual(base('Dockerfile'));
  });

  it('have the digests of Compose in the chart, which are only for its own tags', () => {
    const { services } = parse(readText('compose.yaml'), { merge: true });
    const values = parse(readText('charts/scheduler/values.yaml'));
    for (const [store, service] of [
      ['postgresql', 'postgres'],
      ['redis', 'redis'],
    ] as const) {
      const { repository, tag, digest } = values[store].image;
      expect(services[service].image).toContain(`:-${repository}:${tag}@${digest}}`);
      const rule = `(list "${store}.image" $v.${store}.image "${tag}" "${digest}")`;
      expect(readText('charts/scheduler/templates/validate.yaml')).toContain(rule);
      // Another tag is possible with its digest, or without any.
      for (const own of ['', `sha256:${'0'.repeat(64)}`]) {
        const set = [`${store}.image.tag="other"`, `${store}.image.digest="${own}"`];
        const image = `${repository}:other${own === '' ? '' : `@${own}`}`;
        expect(JSON.stringify(render({ values: ['k8s/values-kind.yaml'], set }))).toContain(`"image":"${image}"`);
      }
    }
  });

  it('are the only ones: every file that names an image is known', () => {
    const names =
      /(?:^|[\s"'=])((?:[a-z0-9.-]+\/)*(?:postgres|redis|node|prometheus|grafana)):v?\d[\w.-]*(@sha256:[0-9a-f]{64})?/gm;
    const files = globSync(
      ['*.yaml', 'Dockerfile', 'k8s/**/*', 'charts/scheduler/**/*.yaml', 'observability/**/*', 'terraform/**/*.tf'],
      {
        cwd: ROOT,
        withFileTypes: true,
      },
    );
    const undigested = files
      .filter((entry) => entry.isFile())
      .flatMap((entry) => {
        const path = join(entry.parentPath, entry.name);
        const text = readFileSync(path, 'utf8').replaceAll(/^ *#.*$/gm, '');
        return [...text.matchAll(names)]
          .filter(([, , digest]) => digest === undefined)
          .map(([, image]) => `${relative(ROOT, path)}: ${image}`);
      });
    // Their digests are in the next line.
    expect(undigested.toSorted()).toEqual(['Dockerfile: node', 'k8s/dev.Dockerfile: node']);
  });
});

describe('Dockerfile', () => {
  const text = readText('Dockerfile');

  it('installs from the lock file without development packages, and runs Node.js with a numeric user id', () => {
    expect(text.match(/^FROM (.*)$/gm)).toEqual([
      expect.stringMatching(/^FROM \$\{NODE_IMAGE\}@sha256:[0-9a-f]{64} AS node$/),
      'FROM node AS build',
      'FROM build AS sbom',
      'FROM node AS packages',
      'FROM node',
    ]);
    expect(text).toContain('ARG NODE_IMAGE=node:24-bookworm-slim');
    expect(text).toContain('npm ci --omit=dev');
    expect(text).not.toMatch(/npm (install|i) /);
    expect(text).toContain('\nENV NODE_ENV=production\n');
    expect(text).toMatch(/\nUSER 1000(:1000)?\n/);
    expect(text).toMatch(/\nENTRYPOINT \["node", /);
  });

  it('gets only the parts of the context that it needs', () => {
    const [first, ...rest] = readText('.dockerignore')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    expect(first).toBe('*');
    expect(rest.filter((line) => line.startsWith('!')).join(' ')).not.toMatch(/\.env|\.git|terraform|node_modules/);
  });
});
