package identity

import (
	"fmt"
	"slices"
	"strings"
)

// SameCluster accepts the members of one cluster: nodes and gateways of
// "region/<r>", or global nodes for "global".
func SameCluster(fleet, cluster string) func(ID) error {
	return func(id ID) error {
		if id.Fleet != fleet {
			return fmt.Errorf("fleet %q, want %q", id.Fleet, fleet)
		}
		switch got := id.Cluster(); got {
		case cluster:
			return nil
		case "":
			return fmt.Errorf("role %v is a member of no cluster", id.Role)
		default:
			return fmt.Errorf("cluster %q, want %q", got, cluster)
		}
	}
}

// Named accepts what accept accepts, under one name.
func Named(name string, accept func(ID) error) func(ID) error {
	return func(id ID) error {
		if id.Name != name {
			return fmt.Errorf("name %q, want %q", id.Name, name)
		}
		return accept(id)
	}
}

// HasRole accepts the given roles of a fleet, whatever their region and name.
func HasRole(fleet string, roles ...Role) func(ID) error {
	return func(id ID) error {
		if id.Fleet != fleet {
			return fmt.Errorf("fleet %q, want %q", id.Fleet, fleet)
		}
		if !slices.Contains(roles, id.Role) {
			words := make([]string, len(roles))
			for i, r := range roles {
				words[i] = r.String()
			}
			return fmt.Errorf("role %v, want %s", id.Role, strings.Join(words, " or "))
		}
		return nil
	}
}

// InRegion accepts the given roles (Node, Gateway) of one region.
func InRegion(fleet, region string, roles ...Role) func(ID) error {
	accept := HasRole(fleet, roles...)
	return func(id ID) error {
		if err := accept(id); err != nil {
			return err
		}
		if id.Region != region {
			return fmt.Errorf("region %q, want %q", id.Region, region)
		}
		return nil
	}
}
