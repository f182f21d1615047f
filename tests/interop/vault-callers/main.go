// Command vault-callers asks the server at VAULT_ADDR what programs in a cluster ask Vault, in their order and through the same client library,
// and prints each exchange as a line of JSON: what was sent, byte by byte as the library forms it, and what came back.
//
// `external-secrets`: the calls of External Secrets' provider for Vault. `injector`: those of the agent that vault-k8s puts into pods.
// VAULT_TOKEN makes what they need; KUBERNETES_HOST is a cluster that knows the token KUBERNETES_JWT of the service account app in the
// namespace shop, for the audience vault, and KUBERNETES_CA an authority.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
	"github.com/hashicorp/vault/api/auth/kubernetes"
	"github.com/hashicorp/vault/api/auth/userpass"
)

type object = map[string]any

var ctx = context.Background()

func main() {
	root := client(nil)
	root.SetToken(os.Getenv("VAULT_TOKEN"))
	prepared := prepare(root)
	caller := client(func(inner http.RoundTripper) http.RoundTripper { return recorder{inner, json.NewEncoder(os.Stdout)} })
	switch os.Args[1] {
	case "external-secrets":
		externalSecrets(caller, prepared)
	case "injector":
		injector(caller, root, prepared)
	default:
		panic("external-secrets or injector")
	}
}

// Prints what goes through it.
type recorder struct {
	inner http.RoundTripper
	out   *json.Encoder
}

func (r recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	var body []byte
	if request.Body != nil {
		body = get(io.ReadAll(request.Body))
		request.Body = io.NopCloser(bytes.NewReader(body))
	}
	response, err := r.inner.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	answer := get(io.ReadAll(response.Body))
	response.Body = io.NopCloser(bytes.NewReader(answer))
	headers := object{}
	for name := range request.Header {
		headers[name] = request.Header.Get(name)
	}
	delete(headers, "X-Vault-Token")
	kinds := object{}
	for _, name := range []string{"Content-Type", "Cache-Control", "Location", "Retry-After"} {
		if value := response.Header.Get(name); value != "" {
			kinds[name] = value
		}
	}
	must(r.out.Encode(object{
		"method": request.Method, "path": request.URL.RequestURI(), "token": request.Header.Get("X-Vault-Token") != "", "headers": headers,
		"body": parsed(body), "status": response.StatusCode, "answer headers": kinds, "answer": parsed(answer),
	}))
	return response, nil
}

// JSON, or the text that is none.
func parsed(text []byte) any {
	var value any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if decoder.Decode(&value) != nil {
		return string(text)
	}
	return value
}

func client(through func(http.RoundTripper) http.RoundTripper) *api.Client {
	config := api.DefaultConfig()
	must(config.Error)
	if through != nil {
		config.HttpClient.Transport = through(config.HttpClient.Transport)
	}
	config.MaxRetries = 0
	made := get(api.NewClient(config))
	made.ClearToken()
	return made
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func get[T any](value T, err error) T {
	must(err)
	return value
}

// What callers log in with.
type prepared struct{ role, secret string }

func prepare(root *api.Client) prepared {
	for path, version := range map[string]string{"two": "2", "one": "1"} {
		must(root.Sys().Mount(path, &api.MountInput{Type: "kv", Options: map[string]string{"version": version}}))
	}
	must(root.Sys().Mount("transit", &api.MountInput{Type: "transit"}))
	must(root.Sys().PutPolicy("app", `
path "two/data/app/*" { capabilities = ["create", "read", "update", "delete"] }
path "two/metadata/app/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "one/app/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "transit/encrypt/app" { capabilities = ["update"] }
path "sys/wrapping/wrap" { capabilities = ["update"] }
`))
	write := func(path string, data object) *api.Secret { return get(root.Logical().Write(path, data)) }
	for _, method := range []string{"approle", "userpass", "kubernetes"} {
		must(root.Sys().EnableAuthWithOptions(method, &api.EnableAuthOptions{Type: method}))
	}
	write("auth/approle/role/app", object{"token_policies": "app", "token_ttl": "1h", "token_max_ttl": "2h"})
	write("auth/userpass/users/app", object{"password": "correct", "token_policies": "app"})
	write("auth/kubernetes/config", object{
		"kubernetes_host": os.Getenv("KUBERNETES_HOST"), "kubernetes_ca_cert": os.Getenv("KUBERNETES_CA"), "token_reviewer_jwt": os.Getenv("KUBERNETES_JWT"),
	})
	write("auth/kubernetes/role/app", object{
		"bound_service_account_names": "app", "bound_service_account_namespaces": "shop", "token_policies": "app", "audience": "vault", "token_ttl": "1h",
	})
	write("transit/keys/app", nil)
	for _, value := range []string{"first", "second"} {
		write("two/data/app/db", object{"data": object{"password": value, "port": 5432, "nested": object{"list": []any{1, true, nil}}}})
	}
	write("two/data/app/folder/inner", object{"data": object{"a": "b"}})
	write("two/data/other", object{"data": object{"a": "b"}})
	write("one/app/db", object{"password": "plain", "ttl": "30m"})
	return prepared{
		role:   get(root.Logical().Read("auth/approle/role/app/role-id")).Data["role_id"].(string),
		secret: write("auth/approle/role/app/secret-id", nil).Data["secret_id"].(string),
	}
}

// A store is validated, secrets are read, found, pushed and deleted. What the server answers is looked at by whoever reads the lines.
func externalSecrets(caller *api.Client, prepared prepared) {
	caller.AddHeader("X-Vault-Inconsistent", "forward-active-node")
	logical := caller.Logical()
	logIn := func(method api.AuthMethod, err error) {
		must(err)
		caller.ClearToken()
		_, _ = caller.Auth().Login(ctx, method)
	}
	logIn(userpass.NewUserpassAuth("app", &userpass.Password{FromString: "wrong"}))
	logIn(userpass.NewUserpassAuth("app", &userpass.Password{FromString: "correct"}))
	_ = caller.Auth().Token().RevokeSelfWithContext(ctx, caller.Token())
	logIn(kubernetes.NewKubernetesAuth("nobody", kubernetes.WithServiceAccountToken(os.Getenv("KUBERNETES_JWT"))))
	logIn(kubernetes.NewKubernetesAuth("app", kubernetes.WithServiceAccountToken("not.a.token")))
	logIn(kubernetes.NewKubernetesAuth("app", kubernetes.WithServiceAccountToken(os.Getenv("KUBERNETES_JWT"))))
	logIn(approle.NewAppRoleAuth("no-such-role", &approle.SecretID{FromString: prepared.secret}))
	logIn(approle.NewAppRoleAuth(prepared.role, &approle.SecretID{FromString: prepared.secret}))
	_, _ = caller.Auth().Token().LookupSelfWithContext(ctx)
	for _, path := range []string{"two/data/app/db", "two/data/app/none", "two/data/other", "two/metadata/app/db", "two/metadata/app/none", "one/app/db", "one/app/none", "none/x"} {
		_, _ = logical.ReadWithDataWithContext(ctx, path, nil)
	}
	for _, version := range []string{"1", "2", "9", "x"} {
		_, _ = logical.ReadWithDataWithContext(ctx, "two/data/app/db", map[string][]string{"version": {version}})
	}
	for _, path := range []string{"two/metadata/app", "two/metadata/app/folder/", "two/metadata/none", "one/app", "two/metadata/"} {
		_, _ = logical.ListWithContext(ctx, path)
	}
	for range 2 {
		_, _ = logical.ReadWithDataWithContext(ctx, "two/data/app/pushed", nil)
		_, _ = logical.ReadWithDataWithContext(ctx, "two/metadata/app/pushed", nil)
		_, _ = logical.WriteWithContext(ctx, "two/metadata/app/pushed", object{"custom_metadata": object{"managed-by": "external-secrets"}})
		_, _ = logical.WriteWithContext(ctx, "two/data/app/pushed", object{"data": object{"a": "b"}, "options": object{"cas": 0}})
		_, _ = logical.WriteWithContext(ctx, "two/data/app/pushed", object{"data": object{"a": "c"}, "options": object{"cas": 1}})
		_, _ = logical.WriteWithContext(ctx, "one/app/pushed", object{"a": "b", "custom_metadata": object{"managed-by": "external-secrets"}})
	}
	_, _ = logical.WriteWithContext(ctx, "two/data/other", object{"data": object{"a": "b"}})
	for _, path := range []string{"two/data/app/pushed", "two/metadata/app/pushed", "two/metadata/app/pushed", "one/app/pushed", "one/app/none", "two/data/other"} {
		_, _ = logical.DeleteWithContext(ctx, path)
	}
	caller.SetNamespace("team")
	_, _ = logical.ReadWithDataWithContext(ctx, "two/data/app/db", nil)
	caller.ClearNamespace()
	_ = caller.Auth().Token().RevokeSelfWithContext(ctx, caller.Token())
	_, _ = caller.Auth().Token().LookupSelfWithContext(ctx)
	_ = caller.Auth().Token().RevokeSelfWithContext(ctx, caller.Token())
	caller.ClearToken()
	_, _ = caller.Auth().Token().LookupSelfWithContext(ctx)
}

// The agent logs in, wraps its token for a sink, renders templates, renews, and takes its token back when the pod ends.
func injector(caller, root *api.Client, prepared prepared) {
	logical := caller.Logical()
	wrap := func(ttl string, call func()) {
		caller.SetWrappingLookupFunc(func(string, string) string { return ttl })
		call()
		caller.SetWrappingLookupFunc(nil)
	}
	for _, jwt := range []string{"", "a.b.c", os.Getenv("KUBERNETES_JWT")} {
		secret, err := logical.WriteWithContext(ctx, "auth/kubernetes/login", object{"role": "app", "jwt": jwt})
		if err == nil {
			caller.SetToken(secret.Auth.ClientToken)
		}
	}
	_, _ = caller.Auth().Token().LookupSelf()
	wrap("5m", func() { _, _ = logical.WriteWithContext(ctx, "sys/wrapping/wrap", object{"token": caller.Token()}) })
	for _, path := range []string{"two/data/app/db", "two/app/db", "one/app/db", "other/app/db", "cubbyhole/x", "two/data/other"} {
		response, err := caller.Logical().ReadRawWithContext(ctx, "sys/internal/ui/mounts/"+path)
		if err == nil {
			_ = response.Body.Close()
		}
		_, _ = logical.ReadWithDataWithContext(ctx, path, nil)
	}
	_, _ = logical.ReadWithDataWithContext(ctx, "two/data/app/db", map[string][]string{"version": {"1"}})
	_, _ = logical.ListWithContext(ctx, "two/metadata/app")
	_, _ = logical.WriteWithContext(ctx, "transit/encrypt/app", object{"plaintext": "aGVsbG8="})
	_, _ = logical.WriteWithContext(ctx, "transit/decrypt/app", object{"ciphertext": "vault:v1:AAAA"})
	for _, increment := range []int{0, 60, 100 * 3600} {
		_, _ = caller.Auth().Token().RenewSelf(increment)
	}
	_, _ = caller.Sys().Renew("database/creds/app/none", 60)
	// A secret id that came wrapped, as for a role's log-in: looked at, unwrapped once, and not again.
	root.SetWrappingLookupFunc(func(string, string) string { return "5m" })
	wrapped := get(root.Logical().Write("auth/approle/role/app/secret-id", nil)).WrapInfo.Token
	root.SetWrappingLookupFunc(nil)
	token := caller.Token()
	caller.ClearToken()
	_, _ = logical.WriteWithContext(ctx, "sys/wrapping/lookup", object{"token": wrapped})
	for range 2 {
		secret, err := logical.UnwrapWithContext(ctx, wrapped)
		caller.ClearToken()
		if err == nil {
			_, _ = logical.WriteWithContext(ctx, "auth/approle/login", object{"role_id": prepared.role, "secret_id": secret.Data["secret_id"]})
		}
	}
	_, _ = logical.WriteWithContext(ctx, "sys/wrapping/lookup", object{"token": wrapped})
	caller.SetToken(token)
	_ = caller.Auth().Token().RevokeSelf("")
	_, _ = logical.ReadWithDataWithContext(ctx, "two/data/app/db", nil)
	_, _ = caller.Auth().Token().RenewSelf(60)
}
