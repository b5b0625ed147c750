// An app with the network, the database and the secret in a separate stack, as users have them, and
// the code in docs/cdk.md and examples/cdk.
import { App, Stack } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import { everything } from './everything';
import { RotatorStack } from './examples/cdk/constructs';

const app = new App();
const theirs = new Stack(app, 'theirs');
const vpc = new ec2.Vpc(theirs, 'Vpc');
new RotatorStack(app, 'constructs', {
  vpc,
  database: new ec2.SecurityGroup(theirs, 'Database', { vpc }),
  databasePort: 5432,
  secret: new secretsmanager.Secret(theirs, 'Secret'),
});
everything(app);
app.synth();
