// Looks up an app at a router and follows its machines: node watch.js APP [COUNT]
// Finds the router and a certificate in the dev.json of a running `firebreak dev`
// (FIREBREAK_DEV names its directory). Ends after COUNT events, if given.
const fs = require('fs');
const path = require('path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [app, count] = process.argv.slice(2);
if (!app) {
  console.error('usage: node watch.js APP [COUNT]');
  process.exit(2);
}

const dir = process.env.FIREBREAK_DEV || path.join(process.env.XDG_STATE_HOME || path.join(process.env.HOME, '.local/state'), 'firebreak/dev');
const dev = JSON.parse(fs.readFileSync(path.join(dir, 'dev.json')));
const router = dev.nodes.find((n) => n.role === 'router');
const me = dev.operator || router;

const proto = loader.loadSync('firebreak/router/v1/router.proto', {
  includeDirs: [path.join(__dirname, '../../../proto')],
  longs: String,
  enums: String,
  keepCase: true,
  defaults: true,
  oneofs: true,
});
const { RouterService } = grpc.loadPackageDefinition(proto).firebreak.router.v1;
const creds = grpc.credentials.createSsl(fs.readFileSync(me.ca), fs.readFileSync(me.key), fs.readFileSync(me.cert));
const client = new RouterService(router.grpc, creds);

client.lookup({ app }, (err, found) => {
  if (err) {
    console.error(`lookup ${app}: ${err.message}`);
    process.exit(1);
  }
  console.log(JSON.stringify({ lookup: found.regions.map((r) => r.region), complete: found.complete }));
  const watch = client.watch();
  let left = Number(count || Infinity);
  watch.on('data', (event) => {
    if (event.machine) {
      console.log(JSON.stringify({ region: event.region, id: event.machine.id, addresses: event.machine.addresses }));
    } else if (event.gone) {
      console.log(JSON.stringify({ region: event.region, gone: event.gone.id }));
    } else {
      return;
    }
    left -= 1;
    if (left === 0) {
      watch.end();
      client.close();
      process.exit(0);
    }
  });
  watch.on('error', (err) => {
    console.error(`watch ${app}: ${err.message}`);
    process.exit(1);
  });
  watch.write({ hello: { client: 'example' } });
  watch.write({ add_app: app });
});
