// The least for a function in a VPC, where the network and the secret are constructs of your app.
import { Aws, Duration, Stack, StackProps } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import { Construct } from 'constructs';

interface RotatorProps extends StackProps {
  vpc: ec2.IVpc;
  database: ec2.IConnectable;
  databasePort: number;
  secret: secretsmanager.ISecret;
}

export class RotatorStack extends Stack {
  constructor(scope: Construct, id: string, props: RotatorProps) {
    super(scope, id, props);

    const name = 'rotator';
    const arn = `arn:${Aws.PARTITION}:lambda:${Aws.REGION}:${Aws.ACCOUNT_ID}:function:${name}`;
    const rotator = new lambda.Function(this, 'Rotator', {
      functionName: name, // the policy below names it without a cycle
      runtime: lambda.Runtime.PROVIDED_AL2023,
      architecture: lambda.Architecture.X86_64, // the zip's
      handler: 'bootstrap',
      code: lambda.Code.fromAsset('rotator-v0.1.0-lambda-x86_64.zip'),
      memorySize: 256,
      timeout: Duration.seconds(60),
      vpc: props.vpc,
      environment: { ROTATOR_SETTINGS: JSON.stringify({ ENGINE: 'postgres' }) },
    });
    // Not database.connections.allowFrom: its rule belongs to the database's stack, which
    // would then depend on this one.
    rotator.connections.allowTo(props.database, ec2.Port.tcp(props.databasePort));

    rotator.addToRolePolicy(new iam.PolicyStatement({
      actions: ['DescribeSecret', 'GetSecretValue', 'PutSecretValue', 'UpdateSecretVersionStage', 'ListSecretVersionIds']
        .map((action) => `secretsmanager:${action}`),
      resources: [`arn:${Aws.PARTITION}:secretsmanager:${Aws.REGION}:${Aws.ACCOUNT_ID}:secret:*`],
      conditions: { StringEquals: { 'secretsmanager:resource/AllowRotationLambdaArn': arn } },
    }));
    rotator.addPermission('SecretsManager', {
      principal: new iam.ServicePrincipal('secretsmanager.amazonaws.com'),
      sourceAccount: Aws.ACCOUNT_ID,
    });

    // The construct, not secret.addRotationSchedule: that grants the function's role
    // the secret a second time, without the condition.
    const schedule = new secretsmanager.CfnRotationSchedule(this, 'Schedule', {
      secretId: props.secret.secretArn,
      rotationLambdaArn: rotator.functionArn,
      rotateImmediatelyOnUpdate: false, // only a test at first
      rotationRules: { scheduleExpression: 'rate(30 days)', duration: '2h' },
    });
    schedule.node.addDependency(rotator);
  }
}
