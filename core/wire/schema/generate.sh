#!/bin/sh
# Regenerates core/wire/schema/generated/ from the .proto files beside this script. The compilers are fetched for the
# run only: the output is checked in, so neither users nor tests need them.
set -eu
cd "$(dirname "$0")"
cat > buf.yaml <<'YAML'
version: v2
YAML
trap 'rm -f buf.yaml descriptors.bin' EXIT
rm -rf generated
mkdir generated
npm exec --yes --ignore-scripts --package=@bufbuild/buf@1.75.0 --package=ts-proto@2.18.0 -- \
  sh -c 'buf generate --template buf.gen.yaml && buf build --as-file-descriptor-set --exclude-source-info -o descriptors.bin#format=binpb'
{
  echo '// The compiled .proto files as one FileDescriptorSet, base64: what the JSON gateway maps messages by.'
  echo '/* eslint-disable */'
  printf "export const descriptorSet =\n  '%s';\n" "$(base64 -w0 descriptors.bin)"
} > generated/descriptors.ts
