import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { generatedFiles } from '../../scripts/chart/generate.ts';
import { documentedValues } from '../../scripts/chart/readme.ts';
import { BASE, CHART, CI_VALUES, helmTemplate, type Loose, podsOf, readText, render } from './render.ts';

const VALUES = readText('charts/scheduler/values.yaml');

function templates(): string {
  const files = readdirSync(`${CHART}/templates`, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  return files.map((file) => readFileSync(`${file.parentPath}/${file.name}`, 'utf8')).join('\n');
}

describe('schema', () => {
  it.each([
    ['replicaCout=1', "additional properties 'replicaCout' not allowed"],
    ['api.replica=1', "additional properties 'replica' not allowed"],
    ['workers.default.autoscaling.mode="kda"', "value must be one of 'none', 'hpa', 'keda', 'cpu'"],
    ['workers.Default.slots=1', 'does not match pattern'],
    ['workers.default.queues=[]', 'minItems'],
    ['config.RATE_LIMIT_PER_MINUT=1', "additional properties 'RATE_LIMIT_PER_MINUT' not allowed"],
    ['config.DATABASE_URL="postgresql://x"', "additional properties 'DATABASE_URL' not allowed"],
    ['api.replicas=0', 'minimum'],
    ['nameOverride="a b"', 'does not match pattern'],
    ['fullnameOverride="Upper"', 'does not match pattern'],
    ['reclaimer=null', "missing property 'reclaimer'"],
    ['workerDefaults=null', "missing property 'workerDefaults'"],
    ['api.service=null', "missing property 'service'"],
    ['networkPolicy.dnsPorts=[]', 'minItems'],
    ['api.service.externalTrafficPolicy="local"', "value must be one of '', 'Cluster', 'Local'"],
    ['workers.default.autoscaling.keda.authenticationKind="Cluster"', "'ClusterTriggerAuthentication'"],
    ['extraEnv=[{"value":"1"}]', "missing property 'name'"],
    ['extraEnv=[{"name":"TZ","value":1}]', 'got number, want string'],
    ['extraVolumes=[{"emptyDir":{}}]', "missing property 'name'"],
  ])('refuses --set %s', (set, message) => {
    expect(helmTemplate({ set: [set] }).error).toContain(message);
  });

  it.each([
    ['image.tag="latest"', 'image.tag=latest: name a version'],
    ['redis.image.tag="latest"', 'redis.image.tag=latest: name a version'],
    ['redis.image.tag="7"', 'redis.image.tag=7, but redis.image.digest is that of 8'],
    ['postgresql.image.tag="16"', 'postgresql.image.tag=16, but postgresql.image.digest is that of 17'],
    ['postgresql.auth.password="p@sS-1"', 'postgresql.auth.password: expected letters, digits'],
    ['redis.auth.password="a b sS-1"', 'redis.auth.password: expected letters, digits'],
    ['externalDatabase.host="db:5432"', 'externalDatabase.host: expected a host name'],
    ['externalDatabase.host="postgresql://u:sS-1@db/d"', 'externalDatabase.host: expected a host name'],
    ['externalRedis.host="redis://:sS-1@cache"', 'externalRedis.host: expected a host name'],
    ['externalRedis.existingSecret="my sS-1!"', 'externalRedis.existingSecret: expected the name of a Secret'],
    ['redis.auth.existingSecret="sS-1!"', 'redis.auth.existingSecret: expected the name of a Secret'],
    ['externalRedis.sentinel.addresses=["redis://:sS-1@a:26379"]', 'sentinel.addresses: expected host:port each'],
    ['postgresql.auth.password=7351', 'got number, want string'],
  ])('refuses %s with an explanation that contains no password', (set, message) => {
    const { error } = helmTemplate({ set: [set] });
    expect(error).toContain(message);
    expect(error).not.toMatch(/sS-1|7351/);
  });

  it('lets a parent chart switch it on and off with a condition', () => {
    const parent = mkdtempSync(join(tmpdir(), 'parent-'));
    try {
      cpSync(CHART, join(parent, 'charts/scheduler'), { recursive: true });
      const dependencies = [{ name: 'scheduler', version: '*', condition: 'scheduler.enabled' }];
      writeFileSync(
        join(parent, 'Chart.yaml'),
        JSON.stringify({ apiVersion: 'v2', name: 'parent', version: '1.0.0', dependencies }),
      );
      const kinds = (enabled: boolean): string[] => {
        const scheduler = { ...(parse(readText(BASE)) as object), enabled };
        const values = JSON.stringify({ global: { region: 'north' }, scheduler });
        const args = ['template', 'r', parent, '--values', '-'];
        const { status, stdout, stderr } = spawnSync('helm', args, { input: values, encoding: 'utf8' });
        expect(status, stderr).toBe(0);
        return [...stdout.matchAll(/^kind: (\w+)$/gm)].map(([, kind]) => kind!);
      };
      expect(kinds(true)).toEqual(render().map(({ kind }) => kind));
      expect(kinds(false)).toEqual([]);
    } finally {
      rmSync(parent, { recursive: true });
    }
  });

  it('accepts any global values, which belong to parent charts and to Rancher', () => {
    expect(helmTemplate({ set: ['global.cattle={"systemProjectId":"p-1"}'] }).error).toBe('');
  });

  it('requires every value but global and enabled, so that it reports values that were set to null', () => {
    const optional: string[] = [];
    const visit = (schema: Loose, path: string): void => {
      if (schema.properties === undefined) return;
      for (const [key, value] of Object.entries(schema.properties)) {
        if (!schema.required?.includes(key)) optional.push(`${path}.${key}`);
        visit(value, `${path}.${key}`);
      }
    };
    visit(JSON.parse(readText('charts/scheduler/values.schema.json')), '');
    expect(optional).toEqual(['.global', '.enabled']);
  });

  it('allows no unknown keys in objects with defined keys', () => {
    const loose: string[] = [];
    const visit = (schema: Loose, path: string): void => {
      if (typeof schema !== 'object' || schema === null) return;
      if (schema.properties !== undefined && schema.additionalProperties !== false) loose.push(path);
      for (const [key, value] of Object.entries(schema)) visit(value, `${path}/${key}`);
    };
    visit(JSON.parse(readText('charts/scheduler/values.schema.json')), '');
    expect(loose).toEqual([]);
  });

  it('refuses Kubernetes below 1.30', () => {
    expect(helmTemplate({ args: ['--kube-version', '1.29.0'] }).error).toContain('kubeVersion: >=1.30.0-0');
  });
});

describe('documentation', () => {
  it('describes every value', () => {
    expect(documentedValues(VALUES).filter(({ description }) => description === '')).toEqual([]);
  });

  it.each([...generatedFiles().keys()])('%s is what scripts/chart/generate.ts writes', (path) => {
    expect(readText(path)).toBe(generatedFiles().get(path));
  });
});

describe('declared and used', () => {
  const text = templates();
  /** Variables of the templates, and the part of the values that they contain. */
  const ALIASES: Readonly<Record<string, string>> = {
    $v: '',
    $external: 'externalDatabase|externalRedis',
    $api: 'api',
    $service: 'api.service',
    $ingress: 'api.ingress',
    $route: 'api.httpRoute',
    $group: 'workerDefaults',
    '.group': 'workerDefaults',
    $scaling: 'workerDefaults.autoscaling',
    '.autoscaling': 'workerDefaults.autoscaling',
    $reclaimer: 'reclaimer',
    $migrations: 'migrations',
    $policy: 'networkPolicy',
    $monitors: 'metrics.monitors',
    $rules: 'metrics.rules',
    $dashboards: 'metrics.dashboards',
    $postgresql: 'postgresql',
    $redis: 'redis',
    $image: 'image',
    $auth: 'postgresql.auth|redis.auth',
    $sentinel: 'externalRedis.sentinel',
    $values: 'postgresql|redis',
    '.settings': 'api|workerDefaults|reclaimer|migrations|postgresql|redis',
  };
  const used = new Set<string>();
  for (const [, path] of text.matchAll(/\.Values\.([A-Za-z0-9.]+)/g)) used.add(path!);
  for (const [alias, roots] of Object.entries(ALIASES)) {
    const pattern = new RegExp(`(?<![A-Za-z0-9_$.])${RegExp.escape(alias)}\\.([A-Za-z0-9.]+)`, 'g');
    for (const [, path] of text.matchAll(pattern))
      for (const root of roots.split('|')) used.add(root === '' ? path! : `${root}.${path}`);
  }
  // Helpers with a group as argument use its fields without a prefix.
  for (const [, field] of text.matchAll(
    /[( ]\.(slots|queues|queueOrder|drainSeconds|databasePoolMax|handlers|config|replicas)\b/g,
  ))
    used.add(`workerDefaults.${field}`);
  // Templates get the stores with `index`, and pass images as whole objects.
  used.add('postgresql.image').add('redis.image').add('workerDefaults.podDisruptionBudget.enabled');

  const declared = (path: string): boolean => {
    let value: Loose = parse(VALUES);
    for (const part of path.split('.')) {
      if (typeof value !== 'object' || value === null || !(part in value)) return false;
      value = value[part];
    }
    return true;
  };

  it('every used value is declared', () => {
    const direct = [...text.matchAll(/\.Values\.([A-Za-z0-9.]+)/g)].map(([, path]) => path!);
    expect(direct.filter((path) => !declared(path))).toEqual([]);
  });

  it('every declared value is used', () => {
    const unused = documentedValues(VALUES)
      .map(({ path }) => path)
      .filter((path) => path !== 'global' && ![...used].some((each) => path === each || path.startsWith(`${each}.`)));
    expect(unused).toEqual([]);
  });
});

describe('strings', () => {
  it('names that look like numbers or booleans stay strings', () => {
    const set = [
      'nameOverride="1e3"',
      'fullnameOverride="on"',
      'workers={"1":{"queues":["q"],"priorityClassName":"2","autoscaling":{"mode":"hpa"}},"default":null}',
      'externalDatabase={"existingSecret":"3","urlKey":"4"}',
      'externalRedis={"host":"redis","existingSecret":"5","passwordKey":"6"}',
      'postgresql.enabled=false',
      'redis.enabled=false',
      'trustedCertificates.existingSecret="7"',
      'serviceAccount.name="8"',
      'reclaimer.podCheck=false',
      'api.ingress={"enabled":true,"className":"9","hosts":["true"]}',
      'metrics.rules.enabled=true',
    ];
    const evaluation = [
      'postgresql.auth={"existingSecret":"1","passwordKey":"2"}',
      'postgresql.persistence.storageClassName="3"',
      'redis.auth={"password":"1","passwordKey":"0x2"}',
    ];
    const text = /^(name|namespace|key|.*Name|serviceAccount|host)$/;
    const odd: string[] = [];
    const visit = (value: Loose, path: string): void => {
      if (typeof value !== 'object' || value === null) return;
      for (const [key, each] of Object.entries(value)) {
        if (text.test(key) || /\.(labels|matchLabels|annotations|data)$/.test(path)) {
          if (typeof each !== 'string' && !(typeof each === 'object' && key === 'host'))
            odd.push(`${path}.${key}: ${String(each)}`);
        }
        visit(each, `${path}.${key}`);
      }
    };
    for (const options of [{ release: 'true', namespace: '2026', set }, { set: evaluation }])
      for (const object of render(options)) visit(object, object.kind);
    expect(odd).toEqual([]);
  });
});

const EXTERNAL = 'externalDatabase={"existingSecret":"db","host":"db"}';
const SENTINELS = ['redis={"enabled":false}', 'externalRedis.sentinel={"addresses":["a:26379"],"master":"m"}'];

describe('contradictions', () => {
  it.each([
    ['a switch without an effect', ['enabled=false'], 'enabled=false switches nothing off here'],
    ['both databases', ['externalDatabase.existingSecret="db"'], 'Both postgresql.enabled and externalDatabase'],
    ['no database', ['postgresql.enabled=false'], 'No PostgreSQL'],
    ['a host beside the own database', ['externalDatabase.host="db"'], 'Both postgresql.enabled and externalDatabase'],
    ['both Redis', ['externalRedis.host="redis"'], 'Both redis.enabled and externalRedis'],
    ['a Cluster beside the own Redis', ['externalRedis.cluster=true'], 'Both redis.enabled and externalRedis'],
    [
      'a user without a password',
      ['redis.enabled=false', 'externalRedis={"host":"redis","username":"app"}'],
      'externalRedis.username needs externalRedis.existingSecret',
    ],
    [
      'a database of a Cluster',
      ['redis.enabled=false', 'externalRedis={"host":"redis","cluster":true,"database":3}'],
      'externalRedis.database=3: a Redis Cluster has the database 0 alone',
    ],
    ['no Redis', ['redis.enabled=false'], 'No Redis'],
    ['no password', ['postgresql.auth.password=""'], 'set postgresql.auth.password, or postgresql.auth.existingSecret'],
    ['two passwords', ['redis.auth.existingSecret="redis"'], 'Both redis.auth.password and redis.auth.existingSecret'],
    [
      'a Redis larger than its limit',
      ['redis.maxMemory="1gb"'],
      'redis.maxMemory=1gb leaves no room below redis.resources.limits.memory=512Mi',
    ],
    ['a hook before its database', ['migrations.mode="hook"'], 'use migrations.mode=job'],
    ['a deadline within the window', ['reclaimer.deadlineSeconds=50'], 'leave 5 s between them'],
    [
      'a minimum above the maximum',
      ['workers.default.autoscaling={"minReplicas":5,"maxReplicas":4}'],
      'minReplicas=5 is more than maxReplicas=4',
    ],
    [
      'zero pods in a mode that cannot start the first one',
      ['workers.default.autoscaling={"mode":"hpa","minReplicas":0}'],
      'workers.default.autoscaling.minReplicas=0 needs mode=keda, which starts the first pod again: with mode=hpa set 1 or more.',
    ],
    [
      'Sentinels without a master',
      [...SENTINELS, 'externalRedis.sentinel.master=""'],
      'needs externalRedis.sentinel.master',
    ],
    ['Sentinels and a host', [...SENTINELS, 'externalRedis.host="redis"'], 'leave host empty'],
    ['Sentinels of a Cluster', [...SENTINELS, 'externalRedis.cluster=true'], 'a Redis Cluster has no Sentinels'],
    ['a master without Sentinels', ['externalRedis.sentinel.master="m"'], 'set externalRedis.sentinel.addresses'],
    [
      "a Sentinels' password without a Secret",
      [...SENTINELS, 'externalRedis.sentinel.passwordKey="k"'],
      'which is not set',
    ],
    ['Jobs without images', ['workers.default.kubernetesJobs.enabled=true'], 'needs images, which says what may run'],
    ['no workers', ['workers.default=null'], 'workers has no group'],
    [
      'two groups that scale on one queue',
      ['workers={"default":{"autoscaling":{"mode":"hpa"}},"b":{"autoscaling":{"mode":"keda"}}}'],
      'both scale on its demand',
    ],
    [
      'a name of a queue that is no valid label',
      ['workers.default={"queues":["reports."],"autoscaling":{"mode":"hpa"}}'],
      'is not a valid label value',
    ],
    [
      'more connections than PostgreSQL allows',
      ['workers.default={"replicas":60}'],
      'The installation may open 422 connections to PostgreSQL, which allows 197',
    ],
    ['a variable of the chart', ['extraEnv=[{"name":"REDIS_URL","value":"x"}]'], 'the chart itself sets REDIS_URL'],
    [
      'a variable of a group',
      ['extraEnv=[{"name":"LOST_CAP","value":"9"}]', 'workers.default.config.LOST_CAP=5'],
      'extraEnv and workers.default.config both set LOST_CAP',
    ],
    [
      'a variable that is a setting',
      ['extraEnv=[{"name":"LOG_LEVEL","value":"info"}]', 'config.LOG_LEVEL="debug"'],
      'extraEnv and config both set LOG_LEVEL: keep one of them',
    ],
    [
      'a variable twice',
      ['extraEnv=[{"name":"TZ","value":"UTC"},{"name":"TZ","value":"CET"}]'],
      'extraEnv sets TZ twice: keep one of them',
    ],
    [
      'an authentication mode without credentials',
      ['workers.default.autoscaling={"mode":"keda","keda":{"authModes":"basic"}}'],
      'keda.authModes needs authenticationRef',
    ],
    ['a volume of the chart', ['extraVolumes=[{"name":"tmp","emptyDir":{}}]'], 'the chart has a volume "tmp"'],
    [
      "a label that is in the pods' selectors",
      ['reclaimer.podLabels={"app.kubernetes.io/component":"x"}'],
      'reclaimer.podLabels: the chart selects its pods by app.kubernetes.io/component',
    ],
    [
      "a label that is in the selector of a group's pods",
      ['workers.default.podLabels={"scheduler/worker-group":"x"}'],
      'workers.default.podLabels: the chart selects its pods by scheduler/worker-group',
    ],
    [
      'a share of a missing CPU request',
      ['workerDefaults.resources.requests=null', 'workers.default.autoscaling.mode="cpu"'],
      'workers.default.autoscaling.mode=cpu uses a share of resources.requests.cpu',
    ],
    ['a node port of a ClusterIP', ['api.service.nodePort=30080'], 'needs api.service.type=NodePort'],
    [
      'a policy for traffic from outside of a ClusterIP',
      ['api.service.externalTrafficPolicy="Local"'],
      'api.service.externalTrafficPolicy needs api.service.type=NodePort or LoadBalancer',
    ],
    ['files for the own stores', ['secretsAsFiles=true'], 'the evaluation ones have no URL in a Secret'],
    [
      'a file for a Secret with only a password',
      [
        'postgresql.enabled=false',
        'redis.enabled=false',
        'secretsAsFiles=true',
        'externalRedis.host="redis"',
        EXTERNAL,
      ],
      'secretsAsFiles needs the whole URL of PostgreSQL',
    ],
    [
      "a label of the test that is in the pods' selectors",
      ['helmTest.podLabels={"app.kubernetes.io/component":"api"}'],
      'helmTest.podLabels: the chart selects its pods by app.kubernetes.io/component',
    ],
    ['an Ingress without a host', ['api.ingress.enabled=true'], 'needs at least one host'],
    ['a route without a gateway', ['api.httpRoute.enabled=true'], 'needs a gateway'],
  ])('%s: the error says what to change', (_, set, message) => {
    expect(helmTemplate({ set }).error).toContain(message);
  });

  it('a name that is invalid for a Service', () => {
    expect(helmTemplate({ release: '1st' }).error).toContain('"1st-scheduler" does not: set fullnameOverride');
    expect(helmTemplate({ release: 'my.own' }).error).toContain('"my.own-scheduler" does not: set fullnameOverride');
    expect(helmTemplate({ release: '1st', set: ['fullnameOverride="first"'] }).error).toBe('');
  });

  it.each(CI_VALUES)('%s: no variable is set twice, not even by extraEnv', (file) => {
    const own = readText('charts/scheduler/templates/_pods.tpl')
      .match(/"scheduler\.ownEnvironment" -}}\n(.*)\n/)![1]!
      .split(' ');
    const { properties } = JSON.parse(readText('charts/scheduler/values.schema.json')).$defs.config;
    const others = ['TZ', ...Object.keys(properties)];
    for (const { owner, spec } of podsOf(render({ values: [file] })).filter(({ owner: each }) =>
      /-(api|worker|reclaimer)/.test(each),
    )) {
      const names = spec.containers[0].env.map(({ name }: Loose) => name) as string[];
      expect(new Set(names).size, owner).toBe(names.length);
      expect([...own, ...others]).toEqual(expect.arrayContaining(names));
    }
  });

  it('the defaults alone are refused, because a store has to be chosen', () => {
    expect(helmTemplate({ values: [] }).error).toContain('No PostgreSQL: set externalDatabase.existingSecret');
  });
});

describe('repeatable', () => {
  it.each(CI_VALUES)('%s renders to the same bytes twice', (file) => {
    // The extra argument prevents the second rendering from being taken from the cache.
    expect(helmTemplate({ values: [file] }).text).toBe(helmTemplate({ values: [file], args: ['--debug=false'] }).text);
  });

  it('generates no passwords and reads nothing from the cluster', () => {
    expect(templates()).not.toMatch(/\b(rand\w+|gen[A-Z]\w+|uuidv4|lookup|now|bcrypt|htpasswd)\b(?= *["|(}])/);
  });
});
