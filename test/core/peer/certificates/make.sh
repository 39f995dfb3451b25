#!/bin/sh
# Makes the certificates of this folder anew (OpenSSL 3). They are for tests alone: the keys are public.
set -eu
days=36500
authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days $days -keyout "$1-key.pem" -out "$1.pem" \
    -subj "/CN=coterie test $1"
}
member() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$2-key.pem" -out "$2.csr" -subj "/CN=$2"
  printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$3" > "$2.ext"
  openssl x509 -req -in "$2.csr" -CA "$1.pem" -CAkey "$1-key.pem" -CAcreateserial -days $days -extfile "$2.ext" -out "$2.pem"
  rm "$2.csr" "$2.ext"
}
authority authority
authority other-authority
member authority member 'DNS:localhost,IP:127.0.0.1,IP:::1'
member authority elsewhere 'DNS:elsewhere.example,IP:192.0.2.1'
member other-authority foreigner 'DNS:localhost,IP:127.0.0.1,IP:::1'
rm -f authority-key.pem other-authority-key.pem other-authority.pem ./*.srl
