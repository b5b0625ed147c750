package terraform

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tfprotov5/tf5server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// document is part of the output of `terraform providers schema -json`. It was derived from the bindings of CDK for
// Terraform, which have the type of every argument of provider 6.25, and whether it is required. It lacks rules in the
// provider's code, such as which values an argument accepts. The secret's version is from the provider's documentation.
// Source: https://registry.terraform.io/providers/hashicorp/aws/latest/docs/resources/secretsmanager_secret_version
//
//go:embed schema.json
var document []byte

// serve answers Terraform as its plugin until Terraform is done.
func serve() error {
	schema, err := parse(document)
	if err != nil {
		return err
	}
	return tf5server.Serve("registry.terraform.io/hashicorp/aws", func() tfprotov5.ProviderServer {
		return provider{schema: schema}
	})
}

// provider answers the calls of validating, and of planning with mocks. Any other call needs the real provider, and
// fails.
type provider struct {
	tfprotov5.ProviderServer
	schema *tfprotov5.GetProviderSchemaResponse
}

func (p provider) GetProviderSchema(
	context.Context, *tfprotov5.GetProviderSchemaRequest,
) (*tfprotov5.GetProviderSchemaResponse, error) {
	return p.schema, nil
}

func (provider) PrepareProviderConfig(
	_ context.Context, r *tfprotov5.PrepareProviderConfigRequest,
) (*tfprotov5.PrepareProviderConfigResponse, error) {
	return &tfprotov5.PrepareProviderConfigResponse{PreparedConfig: r.Config}, nil
}

func (provider) ValidateResourceTypeConfig(
	context.Context, *tfprotov5.ValidateResourceTypeConfigRequest,
) (*tfprotov5.ValidateResourceTypeConfigResponse, error) {
	return &tfprotov5.ValidateResourceTypeConfigResponse{}, nil
}

func (provider) ValidateDataSourceConfig(
	context.Context, *tfprotov5.ValidateDataSourceConfigRequest,
) (*tfprotov5.ValidateDataSourceConfigResponse, error) {
	return &tfprotov5.ValidateDataSourceConfigResponse{}, nil
}

func (provider) StopProvider(context.Context, *tfprotov5.StopProviderRequest) (*tfprotov5.StopProviderResponse, error) {
	return &tfprotov5.StopProviderResponse{}, nil
}

// The format of `terraform providers schema -json`.
// Source: https://developer.hashicorp.com/terraform/cli/commands/providers/schema
type (
	schemas struct {
		DataSources map[string]schema `json:"data_source_schemas"`
		Resources   map[string]schema `json:"resource_schemas"`
	}
	schema struct {
		Version int64 `json:"version"`
		Block   block `json:"block"`
	}
	block struct {
		Attributes map[string]attribute `json:"attributes"`
		Blocks     map[string]nested    `json:"block_types"`
	}
	attribute struct {
		Type      json.RawMessage `json:"type"`
		Required  bool            `json:"required"`
		Optional  bool            `json:"optional"`
		Computed  bool            `json:"computed"`
		WriteOnly bool            `json:"write_only"`
	}
	nested struct {
		Mode  string `json:"nesting_mode"`
		Min   int64  `json:"min_items"`
		Max   int64  `json:"max_items"`
		Block block  `json:"block"`
	}
)

var modes = map[string]tfprotov5.SchemaNestedBlockNestingMode{
	"list":   tfprotov5.SchemaNestedBlockNestingModeList,
	"set":    tfprotov5.SchemaNestedBlockNestingModeSet,
	"single": tfprotov5.SchemaNestedBlockNestingModeSingle,
}

func parse(data []byte) (*tfprotov5.GetProviderSchemaResponse, error) {
	var all schemas
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, err
	}
	response := &tfprotov5.GetProviderSchemaResponse{
		Provider:          &tfprotov5.Schema{Block: &tfprotov5.SchemaBlock{}},
		ResourceSchemas:   make(map[string]*tfprotov5.Schema),
		DataSourceSchemas: make(map[string]*tfprotov5.Schema),
	}
	for from, to := range map[*map[string]schema]map[string]*tfprotov5.Schema{&all.Resources: response.ResourceSchemas,
		&all.DataSources: response.DataSourceSchemas} {
		for name, s := range *from {
			b, err := s.Block.proto()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			to[name] = &tfprotov5.Schema{Version: s.Version, Block: b}
		}
	}
	return response, nil
}

func (b block) proto() (*tfprotov5.SchemaBlock, error) {
	out := &tfprotov5.SchemaBlock{}
	for _, name := range slices.Sorted(maps.Keys(b.Attributes)) {
		a := b.Attributes[name]
		kind, err := tftypes.ParseJSONType(a.Type)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out.Attributes = append(out.Attributes, &tfprotov5.SchemaAttribute{
			Name: name, Type: kind, Required: a.Required, Optional: a.Optional, Computed: a.Computed,
			WriteOnly: a.WriteOnly})
	}
	for _, name := range slices.Sorted(maps.Keys(b.Blocks)) {
		n := b.Blocks[name]
		mode, ok := modes[n.Mode]
		if !ok {
			return nil, fmt.Errorf("%s: nesting mode %q is not known", name, n.Mode)
		}
		inner, err := n.Block.proto()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out.BlockTypes = append(out.BlockTypes,
			&tfprotov5.SchemaNestedBlock{TypeName: name, Nesting: mode, MinItems: n.Min, MaxItems: n.Max, Block: inner})
	}
	return out, nil
}
