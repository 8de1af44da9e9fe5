// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// pgpoolOf gives what starts pgpool-II, with load balancing or without: with it, it asks
// the catalogs about the tables in statements.
func pgpoolOf(balancing string) func(t *testing.T, target string, size int) string {
	return func(t *testing.T, target string, size int) string {
		t.Helper()
		return startPgpool(t, target, balancing, size)
	}
}

func startPgpool(t *testing.T, target, balancing string, size int) string {
	t.Helper()
	address, pcp := freeAddress(t), freeAddress(t)
	_, listen, _ := net.SplitHostPort(address)
	_, control, _ := net.SplitHostPort(pcp)
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		t.Fatal(err)
	}
	dir := stackDir(t)
	settings := fmt.Sprintf(`listen_addresses = '127.0.0.1'
port = %s
pcp_listen_addresses = '127.0.0.1'
pcp_port = %s
backend_clustering_mode = 'streaming_replication'
backend_hostname0 = '%s'
backend_port0 = %s
backend_flag0 = 'DISALLOW_TO_FAILOVER'
load_balance_mode = %s
num_init_children = %d
max_pool = 2
enable_pool_hba = on
pool_passwd = 'pool_passwd'
sr_check_period = 0
sr_check_user = 'app'
sr_check_database = 'app'
health_check_period = 0
`, listen, control, host, port, balancing, size)
	for _, name := range []string{"socket_dir", "pcp_socket_dir", "wd_ipc_socket_dir", "logdir"} {
		settings += fmt.Sprintf("%s = '%s'\n", name, dir)
	}
	settings += fmt.Sprintf("pid_file_name = '%s'\n", filepath.Join(dir, "pid"))
	password := shared.secret(t, "app")
	writeFileAt(t, filepath.Join(dir, "pgpool.conf"), settings)
	writeFileAt(t, filepath.Join(dir, "pool_hba.conf"), "host all all 127.0.0.1/32 scram-sha-256\n")
	writeFileAt(t, filepath.Join(dir, "pool_passwd"), strings.ReplaceAll("app:TEXT*\nsupport:TEXT*\n", "*", password))
	writeFileAt(t, filepath.Join(dir, "pcp.conf"), "")
	writeFileAt(t, filepath.Join(dir, "key"), password)
	pool, err := startProcess(filepath.Join(t.TempDir(), "pgpool.log"), nil, "/usr/sbin/pgpool", "-n", "-D",
		"-f", filepath.Join(dir, "pgpool.conf"), "-a", filepath.Join(dir, "pool_hba.conf"), "-F", filepath.Join(dir, "pcp.conf"), "-k", filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pool.stop(2) // fast
		if t.Failed() {
			t.Log(readFile(t, pool.logPath))
		}
	})
	if err := pool.waitForAddress(address); err != nil {
		t.Fatal(err)
	}
	return address
}
