// Command vault-client does what programs do with Vault's own Go client, against the server at VAULT_ADDR with the root token VAULT_TOKEN.
//
// KUBERNETES_HOST is a cluster that knows the token KUBERNETES_JWT, of the service account app in the namespace shop, for the audience vault;
// KUBERNETES_CA an authority. Run against OpenBao it shows that it is right, run against bulla that the client works there. Prints a line for
// each part that went well.
package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
	"github.com/hashicorp/vault/api/auth/kubernetes"
	"github.com/hashicorp/vault/api/auth/userpass"
)

type object = map[string]any

var ctx = context.Background()

func main() {
	root := client("")
	root.SetToken(os.Getenv("VAULT_TOKEN"))
	parts := []struct {
		name string
		run  func(*api.Client)
	}{
		{"kv1", kv1}, {"kv2", kv2}, {"transit", useTransit}, {"policies", policies}, {"tokens", tokens}, {"approle", useAppRole},
		{"userpass", useUserpass}, {"kubernetes", useKubernetes}, {"wrapping", wrapping}, {"leases", leases}, {"watcher", watcher}, {"system", system},
	}
	for _, part := range parts {
		part.run(root)
		fmt.Println(part.name)
	}
}

// A client that has no token.
func client(token string) *api.Client {
	config := api.DefaultConfig()
	must(config.Error)
	made := get(api.NewClient(config))
	made.ClearToken()
	if token != "" {
		made.SetToken(token)
	}
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

func same(found, expected any) {
	if !reflect.DeepEqual(found, expected) {
		panic(fmt.Sprintf("%#v is not %#v", found, expected))
	}
}

// The call must have been answered with one of these statuses.
func refused(err error, statuses ...int) {
	var answered *api.ResponseError
	if !errors.As(err, &answered) {
		panic(fmt.Sprintf("not refused: %v", err))
	}
	for _, status := range statuses {
		if answered.StatusCode == status {
			return
		}
	}
	panic(fmt.Sprintf("refused otherwise: %v", err))
}

func encoded(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func kv1(root *api.Client) {
	must(root.Sys().Mount("one", &api.MountInput{Type: "kv", Options: map[string]string{"version": "1"}}))
	kv := root.KVv1("one")
	must(kv.Put(ctx, "a/b", object{"x": "1", "nested": object{"y": true}}))
	same(get(kv.Get(ctx, "a/b")).Data, object{"x": "1", "nested": object{"y": true}})
	same(get(root.Logical().List("one/a")).Data["keys"], []any{"b"})
	must(kv.Delete(ctx, "a/b"))
	_, err := kv.Get(ctx, "a/b")
	same(errors.Is(err, api.ErrSecretNotFound), true)
}

func kv2(root *api.Client) {
	must(root.Sys().Mount("two", &api.MountInput{Type: "kv-v2"}))
	kv := root.KVv2("two")
	same(get(kv.Put(ctx, "k", object{"n": "1"}, api.WithCheckAndSet(0))).VersionMetadata.Version, 1)
	_, err := kv.Put(ctx, "k", object{"n": "2"}, api.WithCheckAndSet(0))
	refused(err, 400)
	get(kv.Put(ctx, "k", object{"n": "2", "m": "x"}))
	get(kv.Patch(ctx, "k", object{"n": "3"}))
	get(kv.Patch(ctx, "k", object{"n": "4"}, api.WithMergeMethod(api.KVMergeMethodReadWrite)))
	read := get(kv.Get(ctx, "k"))
	same(read.Data, object{"n": "4", "m": "x"})
	same(read.VersionMetadata.Version, 4)
	same(get(kv.GetVersion(ctx, "k", 1)).Data, object{"n": "1"})
	same(len(get(kv.GetVersionsAsList(ctx, "k"))), 4)
	get(kv.Rollback(ctx, "k", 1))
	same(get(kv.Get(ctx, "k")).Data, object{"n": "1"})
	must(kv.Delete(ctx, "k"))
	same(get(kv.Get(ctx, "k")).Data, object(nil))
	must(kv.Undelete(ctx, "k", []int{5}))
	same(get(kv.Get(ctx, "k")).Data, object{"n": "1"})
	must(kv.DeleteVersions(ctx, "k", []int{1}))
	must(kv.Destroy(ctx, "k", []int{2}))
	must(kv.PutMetadata(ctx, "k", api.KVMetadataPutInput{CustomMetadata: object{"owner": "me"}, MaxVersions: 7}))
	must(kv.PatchMetadata(ctx, "k", api.KVMetadataPatchInput{CustomMetadata: object{"team": "t"}}))
	about := get(kv.GetMetadata(ctx, "k"))
	same(about.CustomMetadata, object{"owner": "me", "team": "t"})
	same([]any{about.MaxVersions, about.Versions["2"].Destroyed, about.Versions["1"].DeletionTime.IsZero()}, []any{7, true, false})
	must(kv.DeleteMetadata(ctx, "k"))
	_, err = kv.Get(ctx, "k")
	same(errors.Is(err, api.ErrSecretNotFound), true)
	get(kv.Put(ctx, "open/x", object{"a": "b"}))
	get(kv.Put(ctx, "shut/x", object{"a": "b"}))
}

func useTransit(root *api.Client) {
	must(root.Sys().Mount("transit", &api.MountInput{Type: "transit"}))
	ask := func(path string, body object) object {
		answer := get(root.Logical().Write("transit/"+path, body))
		if answer == nil {
			return nil
		}
		return answer.Data
	}
	ask("keys/a", nil)
	ask("keys/e", object{"type": "ed25519"})
	same(get(root.Logical().Read("transit/keys/e")).Data["type"], "ed25519")
	sealed := ask("encrypt/a", object{"plaintext": encoded("x"), "associated_data": encoded("y")})["ciphertext"]
	same(ask("decrypt/a", object{"ciphertext": sealed, "associated_data": encoded("y")})["plaintext"], encoded("x"))
	_, err := root.Logical().Write("transit/decrypt/a", object{"ciphertext": sealed})
	refused(err, 400)
	ask("keys/a/rotate", nil)
	anew := ask("rewrap/a", object{"ciphertext": ask("encrypt/a", object{"plaintext": encoded("z"), "key_version": 1})["ciphertext"]})["ciphertext"]
	same(anew.(string)[:9], "vault:v2:")
	signature := ask("sign/e", object{"input": encoded("m")})["signature"]
	same(ask("verify/e", object{"input": encoded("m"), "signature": signature})["valid"], true)
	same(ask("verify/e", object{"input": encoded("n"), "signature": signature})["valid"], false)
	same(len(ask("random/16", object{"format": "hex"})["random_bytes"].(string)), 32)
	key := ask("datakey/plaintext/a", nil)
	same(ask("decrypt/a", object{"ciphertext": key["ciphertext"]})["plaintext"], key["plaintext"])
	ask("keys/a/config", object{"deletion_allowed": true})
	get(root.Logical().Delete("transit/keys/a"))
	same(get(root.Logical().Read("transit/keys/a")), (*api.Secret)(nil))
}

func policies(root *api.Client) {
	must(root.Sys().PutPolicy("reader", `path "two/data/open/*" { capabilities = ["read"] }`))
	same(get(root.Sys().GetPolicy("reader")), `path "two/data/open/*" { capabilities = ["read"] }`)
	same(get(root.Sys().ListPolicies()), []string{"default", "reader", "root"})
	made := get(root.Auth().Token().Create(&api.TokenCreateRequest{Policies: []string{"reader"}}))
	reader := client(made.Auth.ClientToken)
	same(get(reader.KVv2("two").Get(ctx, "open/x")).Data, object{"a": "b"})
	_, err := reader.KVv2("two").Get(ctx, "shut/x")
	refused(err, 403)
	same(get(reader.Sys().CapabilitiesSelf("two/data/open/x")), []string{"read"})
	same(get(root.Sys().Capabilities(reader.Token(), "two/data/q")), []string{"deny"})
	same(get(root.Sys().CapabilitiesAccessor(made.Auth.Accessor, "two/data/open/x")), []string{"read"})
	must(root.Sys().PutPolicy("gone", `path "x" { capabilities = ["read"] }`))
	must(root.Sys().DeletePolicy("gone"))
	same(get(root.Sys().GetPolicy("gone")), "")
}

func tokens(root *api.Client) {
	token := root.Auth().Token()
	made := get(token.Create(&api.TokenCreateRequest{
		Policies: []string{"reader"}, TTL: "1h", ExplicitMaxTTL: "2h", DisplayName: "d", Metadata: map[string]string{"a": "b"},
	}))
	same(get(made.TokenPolicies()), []string{"default", "reader"})
	mine := client(made.Auth.ClientToken)
	about := get(mine.Auth().Token().LookupSelf())
	same([]any{about.Data["display_name"], about.Data["meta"]}, []any{"token-d", object{"a": "b"}})
	same(get(about.TokenTTL()) > 59*time.Minute, true)
	same(get(mine.Auth().Token().RenewSelf(1800)).Auth.LeaseDuration, 1800)
	same(get(token.LookupAccessor(made.Auth.Accessor)).Data["accessor"], made.Auth.Accessor)
	get(token.RenewAccessor(made.Auth.Accessor, 600))
	get(root.Logical().Write("auth/token/roles/role", object{"allowed_policies": "reader", "orphan": true, "token_period": "20m"}))
	of := get(token.CreateWithRole(&api.TokenCreateRequest{Policies: []string{"reader"}}, "role"))
	same(of.Auth.LeaseDuration, 1200)
	orphan := get(token.CreateOrphan(&api.TokenCreateRequest{Policies: []string{"default"}}))
	child := get(client(made.Auth.ClientToken).Auth().Token().LookupSelf())
	same(child.Data["orphan"], false)
	must(token.RevokeAccessor(orphan.Auth.Accessor))
	_, err := client(orphan.Auth.ClientToken).Auth().Token().LookupSelf()
	refused(err, 403)
	must(client(of.Auth.ClientToken).Auth().Token().RevokeSelf(""))
	must(token.RevokeTree(made.Auth.ClientToken))
	_, err = mine.Auth().Token().LookupSelf()
	refused(err, 403)
}

func useAppRole(root *api.Client) {
	must(root.Sys().EnableAuthWithOptions("approle", &api.EnableAuthOptions{Type: "approle"}))
	get(root.Logical().Write("auth/approle/role/app", object{"token_policies": "reader", "token_ttl": "20m"}))
	id := get(root.Logical().Read("auth/approle/role/app/role-id")).Data["role_id"].(string)
	secret := get(root.Logical().Write("auth/approle/role/app/secret-id", nil)).Data["secret_id"].(string)
	app := client("")
	login := get(app.Auth().Login(ctx, get(approle.NewAppRoleAuth(id, &approle.SecretID{FromString: secret}))))
	same([]any{login.Auth.LeaseDuration, login.Auth.Metadata["role_name"]}, []any{1200, "app"})
	same(get(app.KVv2("two").Get(ctx, "open/x")).Data, object{"a": "b"})
	wrapping := client(root.Token())
	wrapping.SetWrappingLookupFunc(func(string, string) string { return "1m" })
	wrapped := get(wrapping.Logical().Write("auth/approle/role/app/secret-id", nil)).WrapInfo.Token
	get(client("").Auth().Login(ctx, get(approle.NewAppRoleAuth(id, &approle.SecretID{FromString: wrapped}, approle.WithWrappingToken()))))
	_, err := client("").Auth().Login(ctx, get(approle.NewAppRoleAuth(id, &approle.SecretID{FromString: "wrong"})))
	refused(err, 400)
}

func useUserpass(root *api.Client) {
	must(root.Sys().EnableAuthWithOptions("userpass", &api.EnableAuthOptions{Type: "userpass"}))
	get(root.Logical().Write("auth/userpass/users/ann", object{"password": "p", "token_policies": "reader"}))
	ann := client("")
	login := get(ann.Auth().Login(ctx, get(userpass.NewUserpassAuth("ann", &userpass.Password{FromString: "p"}))))
	same(login.Auth.Metadata, map[string]string{"username": "ann"})
	_, err := client("").Auth().Login(ctx, get(userpass.NewUserpassAuth("ann", &userpass.Password{FromString: "q"})))
	refused(err, 400)
}

func useKubernetes(root *api.Client) {
	must(root.Sys().EnableAuthWithOptions("kubernetes", &api.EnableAuthOptions{Type: "kubernetes"}))
	get(root.Logical().Write("auth/kubernetes/config", object{
		"kubernetes_host": os.Getenv("KUBERNETES_HOST"), "kubernetes_ca_cert": os.Getenv("KUBERNETES_CA"), "token_reviewer_jwt": "reviewer",
		"disable_local_ca_jwt": true,
	}))
	get(root.Logical().Write("auth/kubernetes/role/app", object{
		"bound_service_account_names": "app", "bound_service_account_namespaces": "shop", "audience": "vault", "token_policies": "reader",
	}))
	pod := client("")
	token := kubernetes.WithServiceAccountToken(os.Getenv("KUBERNETES_JWT"))
	login := get(pod.Auth().Login(ctx, get(kubernetes.NewKubernetesAuth("app", token))))
	same([]any{login.Auth.Metadata["service_account_name"], login.Auth.Metadata["service_account_namespace"]}, []any{"app", "shop"})
	same(get(pod.KVv2("two").Get(ctx, "open/x")).Data, object{"a": "b"})
	_, err := client("").Auth().Login(ctx, get(kubernetes.NewKubernetesAuth("app", kubernetes.WithServiceAccountToken("no.token.this"))))
	refused(err, 400, 403, 500)
}

func wrapping(root *api.Client) {
	wrapped := client(root.Token())
	wrapped.SetWrappingLookupFunc(func(string, string) string { return "60s" })
	info := get(wrapped.Logical().Read("two/data/open/x")).WrapInfo
	same([]any{info.TTL, info.CreationPath}, []any{60, "two/data/open/x"})
	same(get(root.Logical().Unwrap(info.Token)).Data["data"], object{"a": "b"})
	_, err := root.Logical().Unwrap(info.Token)
	refused(err, 400, 403)
	token := get(wrapped.Auth().Token().Create(&api.TokenCreateRequest{Policies: []string{"default"}})).WrapInfo.Token
	same(get(root.Logical().Unwrap(token)).Auth.TokenPolicies, []string{"default"})
}

// Logins have leases too; those are what there is without an engine that makes accounts elsewhere.
func leases(root *api.Client) {
	ann := client("")
	get(ann.Auth().Login(ctx, get(userpass.NewUserpassAuth("ann", &userpass.Password{FromString: "p"}))))
	_, err := root.Sys().Renew("auth/userpass/login/ann/nosuchlease", 10)
	refused(err, 400)
	_, err = root.Sys().Lookup("auth/userpass/login/ann/nosuchlease")
	refused(err, 400)
	must(root.Sys().RevokePrefix("auth/userpass/login/ann"))
	eventually("a login is taken back", func() bool {
		_, err := ann.Auth().Token().LookupSelf()
		return err != nil
	})
}

// What keeps a token alive: renews it, until it cannot be renewed any more.
func watcher(root *api.Client) {
	made := get(root.Auth().Token().Create(&api.TokenCreateRequest{Policies: []string{"default"}, TTL: "2s", ExplicitMaxTTL: "5s"}))
	watching := get(client(made.Auth.ClientToken).NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: made, Increment: 2}))
	go watching.Start()
	defer watching.Stop()
	renewals, since := 0, time.Now()
	for {
		select {
		case renewed := <-watching.RenewCh():
			same(renewed.Secret.Auth.ClientToken, made.Auth.ClientToken)
			renewals++
			continue
		case err := <-watching.DoneCh():
			must(err)
		case <-time.After(20 * time.Second):
			panic("the watcher does not end")
		}
		break
	}
	if lived := time.Since(since); renewals < 2 || lived < 2500*time.Millisecond {
		panic(fmt.Sprintf("%d renewals in %v", renewals, lived))
	}
	once := get(root.Auth().Token().Create(&api.TokenCreateRequest{Policies: []string{"default"}, TTL: "2s", Renewable: new(bool)}))
	ending := get(client(once.Auth.ClientToken).NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: once}))
	go ending.Start()
	select {
	case <-ending.DoneCh():
	case <-time.After(20 * time.Second):
		panic("a token that cannot be renewed is watched for ever")
	}
}

func system(root *api.Client) {
	health := get(root.Sys().Health())
	same([]any{health.Initialized, health.Sealed, health.Standby}, []any{true, false, false})
	status := get(root.Sys().SealStatus())
	same([]any{status.Type, status.Sealed, status.Initialized}, []any{"shamir", false, true})
	same(get(root.Sys().InitStatus()), true)
	get(root.Sys().Leader())
	mounts := get(root.Sys().ListMounts())
	same([]any{mounts["one/"].Type, mounts["two/"].Options}, []any{"kv", map[string]string{"version": "2"}})
	must(root.Sys().TuneMount("one", api.MountConfigInput{DefaultLeaseTTL: "30m", MaxLeaseTTL: "40m"}))
	same(get(root.Sys().MountConfig("one")).MaxLeaseTTL, 2400)
	must(root.KVv1("one").Put(ctx, "moved", object{"a": "b"}))
	must(root.Sys().Remount("one", "elsewhere"))
	eventually("a mount is moved", func() bool { return get(root.Sys().ListMounts())["elsewhere/"] != nil })
	same(get(root.KVv1("elsewhere").Get(ctx, "moved")).Data, object{"a": "b"})
	must(root.Sys().Unmount("elsewhere"))
	methods := get(root.Sys().ListAuth())
	same(methods["approle/"].Type, "approle")
	must(root.Sys().DisableAuth("approle"))
	same(get(root.Sys().ListAuth())["approle/"] == nil, true)
	before := get(root.Sys().KeyStatus()).Term
	must(root.Sys().Rotate())
	same(get(root.Sys().KeyStatus()).Term, before+1)
	same(get(root.Sys().ListAudit()), map[string]*api.Audit{})
}

func eventually(what string, holds func() bool) {
	for since := time.Now(); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Since(since) > 20*time.Second {
			panic("not in time: " + what)
		}
	}
}
