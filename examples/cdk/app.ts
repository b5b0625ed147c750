// The rotation function, and a secret of a PostgreSQL user that it rotates every 30 days. From this folder:
//   npm ci && npx aws-cdk@2 deploy -c zip=rotator-v0.1.0-lambda-x86_64.zip -c host=db.example.internal \
//     --parameters InitialPassword=...
// The schedule starts with a test of the secret. If that succeeds, set rotateImmediatelyOnUpdate to true.
import { App, CfnParameter, RemovalPolicy, SecretValue, Stack } from 'aws-cdk-lib';
import { Asset } from 'aws-cdk-lib/aws-s3-assets';
import { CfnFunction } from 'aws-cdk-lib/aws-sam';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import { CfnInclude } from 'aws-cdk-lib/cloudformation-include';

const app = new App();
const stack = new Stack(app, 'shop');

// The function, from this project's template and a zip that a release has or `make release` creates.
const zip = new Asset(stack, 'Zip', { path: app.node.getContext('zip') });
// Its parameters, such as VpcSubnetIds, become parameters of this stack.
const template = new CfnInclude(stack, 'Template', { templateFile: '../../template.yaml' });
const rotator = template.getResource('RotatorFunction') as CfnFunction;
rotator.codeUri = { bucket: zip.s3BucketName, key: zip.s3ObjectKey };

// The secret. The first rotation replaces the password, which the user must have now.
const password = new CfnParameter(stack, 'InitialPassword', { noEcho: true });
const secret = new secretsmanager.Secret(stack, 'Secret', {
  secretObjectValue: {
    engine: SecretValue.unsafePlainText('postgres'),
    host: SecretValue.unsafePlainText(app.node.getContext('host')),
    username: SecretValue.unsafePlainText('app'),
    password: SecretValue.cfnParameter(password),
  },
  removalPolicy: RemovalPolicy.RETAIN,
});

// The construct, not secret.addRotationSchedule, which gives the function more permissions than it needs.
const schedule = new secretsmanager.CfnRotationSchedule(stack, 'Schedule', {
  secretId: secret.secretArn,
  rotationLambdaArn: rotator.getAtt('Arn').toString(),
  rotateImmediatelyOnUpdate: false, // only a test at first
  rotationRules: { scheduleExpression: 'rate(30 days)', duration: '2h' },
});
schedule.node.addDependency(template); // the permission to call the function comes first
