package catalog

import "github.com/firebreak-dev/firebreak/router/catalog/core"

// Holding returns a Client that holds apps, is current and follows nobody.
func Holding(apps map[string]*core.App) *Client {
	c := &Client{table: newTable()}
	c.table.put(apps)
	return c
}

// Show shows changed apps, as Run does.
func (c *Client) Show(apps map[string]*core.App) { c.table.put(apps) }
