# Vault of docker-compose.yml: one node, storage on a volume, TLS only. For production see docs/deployment.md: three or
# five nodes, and auto-unseal by a KMS or HSM (a `seal` stanza) in place of deploy/compose/vault/setup.sh.
storage "raft" {
  path    = "/vault/file"
  node_id = "vault"
}

listener "tcp" {
  address         = "0.0.0.0:8200"
  tls_cert_file   = "/etc/vault/server.pem"
  tls_key_file    = "/run/secrets/vault_tls_key"
  tls_min_version = "tls12"
}

api_addr     = "https://vault:8200"
cluster_addr = "https://vault:8201"

# Locking memory needs a capability, and raft maps its files: keep swap off, or encrypted, on the host.
disable_mlock = true
ui            = false
