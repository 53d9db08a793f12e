// gitops: what GitOps tools make of the objects on standard input, one a line. Each is judged by the tool's own library.
//
//	gitops ARGOCD-CM.yaml KUSTOMIZATION.yaml < objects.jsonl
//
// Prints one JSON object a line: what kstatus says (by which Flux and kpt go), a health check of Argo CD, and
// health-check expressions of Flux.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

type verdict struct {
	Kstatus string `json:"kstatus"`
	ArgoCD  health `json:"argocd"`
	Flux    string `json:"flux"`
}

type health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gitops:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 {
		return fmt.Errorf("usage: gitops ARGOCD-CM.yaml KUSTOMIZATION.yaml < objects.jsonl")
	}
	script, err := argoScript(os.Args[1])
	if err != nil {
		return err
	}
	flux, err := fluxJudge(os.Args[2])
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(lines.Bytes()); err != nil {
			return err
		}
		judged, err := judge(object, script, flux)
		if err != nil {
			return fmt.Errorf("%s: %w", object.GetName(), err)
		}
		if err := out.Encode(judged); err != nil {
			return err
		}
	}
	return lines.Err()
}

func judge(object *unstructured.Unstructured, script string, flux *cel.StatusEvaluator) (verdict, error) {
	computed, err := status.Compute(object)
	if err != nil {
		return verdict{}, fmt.Errorf("kstatus: %w", err)
	}
	argocd, err := argoHealth(object, script)
	if err != nil {
		return verdict{}, fmt.Errorf("the health check for Argo CD: %w", err)
	}
	evaluated, err := flux.Evaluate(context.Background(), object)
	if err != nil {
		return verdict{}, fmt.Errorf("the health-check expressions for Flux: %w", err)
	}
	return verdict{computed.Status.String(), argocd, evaluated.Status.String()}, nil
}

// fluxJudge reads the expressions as a Kustomization of Flux has them.
func fluxJudge(path string) (*cel.StatusEvaluator, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var kustomization struct {
		Spec struct {
			HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &kustomization); err != nil {
		return nil, err
	}
	checks := kustomization.Spec.HealthCheckExprs
	if len(checks) != 1 || checks[0].Kind != "ModelCache" {
		return nil, fmt.Errorf("%s has %d health checks, not one for ModelCache", path, len(checks))
	}
	return cel.NewStatusEvaluator(&checks[0].HealthCheckExpressions)
}

// argoScript reads the health check from the settings of Argo CD.
func argoScript(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var settings struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(text, &settings); err != nil {
		return "", err
	}
	script, ok := settings.Data["resource.customizations.health.modelcache.internal_ModelCache"]
	if !ok {
		return "", fmt.Errorf("%s has no health check for ModelCache", path)
	}
	return script, nil
}

// argoHealth runs a health check as Argo CD does: in a Lua with few libraries, with the object as `obj`.
func argoHealth(object *unstructured.Unstructured, script string) (health, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return health{}, err
		}
	}
	state.SetGlobal("obj", table(state, object.Object))
	if err := state.DoString(script); err != nil {
		return health{}, err
	}
	found, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return health{}, fmt.Errorf("it gave %s, not a table", state.Get(-1).Type())
	}
	text := func(name string) string { return lua.LVAsString(found.RawGetString(name)) }
	return health{text("status"), text("message")}, nil
}

func table(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		made := state.NewTable()
		for name, each := range value {
			made.RawSetString(name, table(state, each))
		}
		return made
	case []any:
		made := state.NewTable()
		for _, each := range value {
			made.Append(table(state, each))
		}
		return made
	case string:
		return lua.LString(value)
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	default:
		return lua.LNil
	}
}
