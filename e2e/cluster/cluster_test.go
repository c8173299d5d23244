// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
)

func TestCertificatesServeBothEndsOfAConnection(t *testing.T) {
	a, err := newAuthority(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, a.issue("apiserver", "kube-apiserver", "none", hostIP, serviceIP))
	require.NoError(t, a.issue("node-1", "system:node:node-1", "system:nodes", nodeIP(1)))
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(a.pem))
	pair := func(name string) tls.Certificate {
		c, err := tls.LoadX509KeyPair(a.path(name+".crt"), a.path(name+".key"))
		require.NoError(t, err)
		return c
	}
	for _, address := range []string{hostIP, serviceIP} {
		near, far := net.Pipe()
		server := tls.Server(near, &tls.Config{Certificates: []tls.Certificate{pair("apiserver")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots})
		client := tls.Client(far, &tls.Config{Certificates: []tls.Certificate{pair("node-1")}, RootCAs: roots, ServerName: address})
		done := make(chan error, 1)
		go func() { done <- server.Handshake() }()
		require.NoError(t, client.Handshake())
		require.NoError(t, <-done)
		who := server.ConnectionState().PeerCertificates[0].Subject
		require.Equal(t, "system:node:node-1", who.CommonName)
		require.Equal(t, []string{"system:nodes"}, who.Organization)
	}
}

func TestKubeconfigIsOne(t *testing.T) {
	a, err := newAuthority(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, a.issue("admin", "admin", "system:masters"))
	path, err := a.kubeconfig("admin")
	require.NoError(t, err)
	config, err := clientcmd.BuildConfigFromFlags("", path)
	require.NoError(t, err)
	require.Equal(t, "https://10.77.0.1:443", config.Host)
	require.Equal(t, a.pem, config.CAData)
	_, err = tls.LoadX509KeyPair(config.CertFile, config.KeyFile)
	require.NoError(t, err)
}

func TestSigningKeysBelongTogether(t *testing.T) {
	a, err := newAuthority(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, a.signingKeys())
	read := func(name string) []byte {
		b, err := os.ReadFile(a.path(name))
		require.NoError(t, err)
		block, _ := pem.Decode(b)
		require.NotNil(t, block)
		return block.Bytes
	}
	private, err := x509.ParseECPrivateKey(read("sa.key"))
	require.NoError(t, err)
	public, err := x509.ParsePKIXPublicKey(read("sa.pub"))
	require.NoError(t, err)
	require.True(t, private.PublicKey.Equal(public))
}

func TestNodesHaveAddressesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{hostIP: true}
	for n := 1; n <= maxNodes; n++ {
		require.NotNil(t, net.ParseIP(nodeIP(n)), n)
		require.False(t, seen[nodeIP(n)], n)
		seen[nodeIP(n)] = true
		_, _, err := net.ParseCIDR(podCIDR(n))
		require.NoError(t, err)
	}
}

func TestClusterNeedsNamespacesOfItsOwn(t *testing.T) {
	require.ErrorContains(t, settle(t.Context()), "cluster.Isolate")
}
